//! Tests of Basin over the wire, and of the tree itself.
