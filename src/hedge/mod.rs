//! Sends an attempt that is late a second time, and takes the first good answer.
