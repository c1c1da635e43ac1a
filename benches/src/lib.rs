//! Nothing to link against: this package is its benches.
//!
//! `cargo bench -p chassis-benches --bench trait_cost` compares each engine through the traits with the same work
//! written by hand against the engine's own interface.
//!
//! `cargo bench -p chassis-benches --bench head_judge` tells what it costs to judge request heads before hyper reads them.
