//! Saved compiled code, sealed so that only what this project saved is ever loaded.

use thiserror::Error;

/// placeholder
#[derive(Debug, Clone)]
pub struct Artefact {
    pub(crate) bytes: Vec<u8>,
    pub(crate) engine_key: String,
    pub(crate) module: [u8; 32],
}
/// placeholder
#[derive(Debug, Clone)]
pub struct SealKey(pub(crate) [u8; 32]);
/// placeholder
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArtefactError {
    /// placeholder
    #[error("saved code is damaged")]
    Damaged,
}
