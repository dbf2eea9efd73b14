//! The tables that sinks keep: values with a life, under a quota, changed whole or not at all.
