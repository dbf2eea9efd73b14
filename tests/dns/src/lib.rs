//! A DNS server under the control of the tests.
