//! The plugin: a type for each trait.

#[macro_use]
mod logged;
#[macro_use]
mod context;
mod calls;
mod http;
mod root;
mod show;
mod stream;

use proxy_wasm::traits::RootContext;
use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Trace);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(root::Root::default()) });
}}
