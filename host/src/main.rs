//! Basin.
fn main() {}
