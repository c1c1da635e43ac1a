//! The product of inputs: every host function with pointers, lengths, return slots, enumerations and numbers that are
//! good, at an edge, or bad; in each kind of callback; with an allocator that behaves in each way it can.
//!
//! The combinations are made from the table of host functions and run in a guest that makes one call. On one engine each
//! must end in a status of the function's row, without a panic and without a partial effect; all engines must do the same.
//! `cargo test -p chassis-conformance --test product -- --nocapture` prints how often each answer was given.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod choices;
mod combinations;
mod guest;
mod histogram;
mod memory;
mod scenes;
mod services;
mod world;

use chassis_abi::{Answer, Param, Status};

use crate::combinations::{Combination, combinations};
use crate::histogram::Histogram;
use crate::memory::Atlas;
use crate::world::{Ended, Stage};

/// There are at least so many.
const LEAST: usize = 11_000;

#[test]
fn every_combination_ends_in_a_status_of_its_row_and_every_status_occurs() {
    let (all, atlas) = all();
    let engine = if chassis_engines::compiled_in().contains(&"wasmi") { "wasmi" } else { first() };
    let stage = Stage::new(engine, &atlas);
    let mut histogram = Histogram::default();
    for combination in &all {
        let ended = stage.play(combination).ended;
        check(combination, &ended);
        histogram.add(combination.row(), &ended);
    }
    println!("{histogram}");
    assert_eq!(histogram.missing(), Vec::<String>::new());
    let (ok, total) = histogram.ok();
    assert!(ok * 10 >= total * 3, "{ok} of {total} are OK");
}

#[test]
fn all_engines_do_the_same_in_every_combination() {
    let (all, atlas) = all();
    let stages: Vec<Stage> = chassis_engines::compiled_in().into_iter().map(|name| Stage::new(name, &atlas)).collect();
    let mut wrong = Vec::new();
    // An input in every second scene, so that it does not take minutes, unless that is asked for.
    let is_in = |combination: &&Combination| combination.is_dark || std::env::var_os("CHASSIS_LONG").is_some();
    let chosen: Vec<&Combination> = all.iter().filter(is_in).collect();
    assert!(chosen.len() >= LEAST, "{}", chosen.len());
    for combination in chosen {
        let expected = stages[0].play(combination);
        for stage in &stages[1..] {
            let seen = stage.play(combination);
            if seen != expected {
                wrong.push(format!("{combination} on {}: {seen:?}\n  on {}: {expected:?}", stage.name, stages[0].name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
}

#[test]
fn a_difference_is_found() {
    let (all, atlas) = all();
    let stage = Stage::new(first(), &atlas);
    let [get, set] = ["proxy_get_header_map_value", "proxy_set_property"].map(|name| {
        let is_ok = |combination: &&Combination| {
            combination.row().name == name && matches!(stage.play(combination).ended, Ended::Answered(0))
        };
        all.iter().find(is_ok).unwrap()
    });
    let (read, changed) = (stage.play(get), stage.play(set));
    assert_ne!(read, changed);
    assert_eq!((&stage.play(get), &stage.play(set)), (&read, &changed));
    // What a call does is seen, not only what it answers.
    assert!(read.written != changed.written && read.after != changed.after);
}

fn all() -> (Vec<Combination>, Atlas) {
    let mut atlas = Atlas::default();
    let all = combinations(&mut atlas);
    assert!(all.len() >= LEAST, "{}", all.len());
    (all, atlas)
}

fn first() -> &'static str {
    chassis_engines::compiled_in()[0]
}

/// What must hold of every combination by itself.
fn check(combination: &Combination, ended: &Ended) {
    let row = combination.row();
    match ended {
        Ended::Answered(answer) => {
            let is_listed = match row.answer {
                Answer::Status => {
                    let points = row.params.iter().any(|param| !matches!(param, Param::Int(_) | Param::Long(_)));
                    row.statuses.iter().any(|status| *status as u32 == *answer)
                        || (points && *answer == Status::InvalidMemoryAccess as u32)
                }
                // The errors of WASI preview 1.
                Answer::Errno => *answer <= 76,
                Answer::Number | Answer::None => true,
            };
            assert!(is_listed, "{combination}: {answer}");
        }
        Ended::Stopped(why) => assert!(combination.may_stop(), "{combination}: {why}"),
    }
}
