//! What a policy would do, and would have done.

mod explain;
mod replay;
mod table;
