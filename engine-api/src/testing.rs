//! The macro of the cross-engine suite.
