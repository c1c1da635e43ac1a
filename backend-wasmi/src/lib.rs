//! backend-wasmi
