//! What happens to a stored message.
