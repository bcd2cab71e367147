//! Several servers for one logical service: each attempt goes to one that was not tried yet.
