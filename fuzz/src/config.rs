//! The gateway's configuration.

use std::path::Path;

use chassis_gateway::config::Config;

/// Reads `data` as the text of a configuration file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(error) = Config::parse(text, Path::new("chassis.yaml")) {
        assert!(!error.to_string().is_empty());
    }
}
