//! Looks into the body of a response before it is judged.
