//! WASI preview 1: all of its functions, with its types, under both names.

use std::path::Path;
use std::process::Command;

use chassis_abi::{Callback, LogLevel, Row, TABLE};
use chassis_engine_api::{Sig, Stop, TrapKind, Ty};

use crate::rig::{DATA, Rig, Wasm, row};

const MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_unstable"];

/// Crate `wasi` declares what the witx files publish.
#[test]
fn every_function_is_there_under_both_names_with_the_type_that_is_published() {
    let published = published();
    assert_eq!(published.len(), 46);
    for (name, params, result) in &published {
        for module in MODULES {
            let row = Row::find(module, name).unwrap_or_else(|| panic!("{module}.{name}"));
            let Sig { params: found, result: found_result } = row.sig;
            assert_eq!((found, found_result), (&params[..], *result), "{module}.{name}");
        }
    }
    assert_eq!(TABLE.iter().filter(|row| row.modules == MODULES).count(), published.len());
}

/// The functions of preview 1 with their Wasm types, from the source of crate `wasi`, which is made from the witx files.
fn published() -> Vec<(String, Vec<Ty>, Option<Ty>)> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let is_it = |package: &&serde_json::Value| {
        package["name"] == "wasi" && package["version"].as_str().unwrap().ends_with("wasi-snapshot-preview1")
    };
    let manifest = packages.iter().find(is_it).expect("crate wasi")["manifest_path"].as_str().unwrap();
    let source = std::fs::read_to_string(Path::new(manifest).with_file_name("src").join("lib_generated.rs")).unwrap();
    let (_, externs) = source.split_once(r#"#[link(wasm_import_module = "wasi_snapshot_preview1")]"#).unwrap();
    // A declaration may go over several lines.
    let flat = externs.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join(" ");
    flat.split("pub fn ").skip(1).map(declared).collect()
}

/// Reads `name(arg0: i32, arg1: i64) -> i32;`.
fn declared(declaration: &str) -> (String, Vec<Ty>, Option<Ty>) {
    let ty = |text: &str| match text.trim() {
        "i32" => Ty::I32,
        "i64" => Ty::I64,
        other => panic!("{other} in {declaration}"),
    };
    let (name, rest) = declaration.split_once('(').unwrap();
    let (params, rest) = rest.split_once(')').unwrap();
    let params = params.split(',').filter_map(|param| param.split_once(':')).map(|(_, text)| ty(text)).collect();
    let result = rest.split_once("->").unwrap().1.split_once(';').unwrap().0.trim();
    (name.trim().to_owned(), params, (result != "!").then(|| ty(result)))
}

const SUCCESS: u32 = 0;
const BADF: u32 = 8;
const FAULT: u32 = 21;
const INVAL: u32 = 28;
const IO: u32 = 29;
const NOENT: u32 = 44;
const NOSYS: u32 = 52;
const NOTDIR: u32 = 54;
const NOTSOCK: u32 = 57;
const NOTSUP: u32 = 58;
const SPIPE: u32 = 70;

#[test]
fn there_are_three_standard_streams_and_no_files() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        for (name, open) in [
            ("fd_advise", SPIPE),
            ("fd_allocate", SPIPE),
            ("fd_close", SUCCESS),
            ("fd_datasync", SUCCESS),
            ("fd_fdstat_get", SUCCESS),
            ("fd_fdstat_set_flags", NOTSUP),
            ("fd_fdstat_set_rights", SUCCESS),
            ("fd_filestat_get", SUCCESS),
            ("fd_filestat_set_size", SPIPE),
            ("fd_filestat_set_times", NOTSUP),
            ("fd_pread", SPIPE),
            ("fd_prestat_get", BADF),
            ("fd_prestat_dir_name", BADF),
            ("fd_pwrite", SPIPE),
            ("fd_readdir", NOTDIR),
            ("fd_renumber", NOTSUP),
            ("fd_seek", SPIPE),
            ("fd_sync", SUCCESS),
            ("fd_tell", SPIPE),
            ("sock_accept", NOTSOCK),
            ("sock_recv", NOTSOCK),
            ("sock_send", NOTSOCK),
            ("sock_shutdown", NOTSOCK),
        ] {
            let params = row(name).sig.params.len();
            for fd in 0..5 {
                let mut args = vec![0; params];
                args[0] = fd;
                let expected = if fd < 3 { open } else { BADF };
                assert_eq!(wasm.wasi(name, &args).unwrap(), expected, "{name} {fd}");
            }
        }
        for (name, expected) in [
            ("path_create_directory", BADF),
            ("path_filestat_get", BADF),
            ("path_filestat_set_times", BADF),
            ("path_link", BADF),
            ("path_open", NOENT),
            ("path_readlink", BADF),
            ("path_remove_directory", BADF),
            ("path_rename", BADF),
            ("path_unlink_file", BADF),
            ("proc_raise", NOSYS),
            ("args_get", SUCCESS),
            ("sched_yield", SUCCESS),
        ] {
            let params = row(name).sig.params.len();
            assert_eq!(wasm.wasi(name, &vec![0; params]).unwrap(), expected, "{name}");
        }
        for path in [0, 77] {
            assert_eq!(wasm.wasi("path_symlink", &[path, 0, 3, 0, 0]).unwrap(), BADF);
        }
    });
}

#[test]
fn descriptors_are_described_as_character_devices() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        for (fd, rights) in [(0, 2), (1, 64), (2, 64)] {
            wasm.put(64, &[0xff; 64]);
            assert_eq!(wasm.wasi("fd_fdstat_get", &[fd, 64]).unwrap(), 0);
            assert_eq!((wasm.u64_at(64), wasm.u64_at(72), wasm.u64_at(80)), (2, rights, 0));
            wasm.put(64, &[0xff; 64]);
            assert_eq!(wasm.wasi("fd_filestat_get", &[fd, 64]).unwrap(), 0);
            assert_eq!(wasm.host.memory()[64 + 16], 2);
            assert_eq!(wasm.host.memory()[64..128].iter().filter(|byte| **byte != 0).count(), 1);
        }
    });
}

#[test]
fn arguments_are_none_and_the_environment_is_the_configured_one() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        wasm.put(0, &[0xff; 16]);
        assert_eq!(wasm.wasi("args_sizes_get", &[0, 4]).unwrap(), 0);
        assert_eq!((wasm.u32_at(0), wasm.u32_at(4)), (0, 0));
        assert_eq!(wasm.wasi("environ_sizes_get", &[0, 4]).unwrap(), 0);
        assert_eq!((wasm.u32_at(0), wasm.u32_at(4)), (2, 15));
        assert_eq!(wasm.wasi("environ_get", &[0, u64::from(DATA)]).unwrap(), 0);
        assert_eq!((wasm.u32_at(0), wasm.u32_at(4)), (DATA, DATA + 4));
        assert_eq!(wasm.host.memory()[DATA as usize..][..15], *b"A=1\0LONG=value\0");
        for (pointers, text) in [(0x2_0000 - 7, DATA), (0, 0x2_0000 - 14), (u32::MAX, u32::MAX)] {
            assert_eq!(wasm.wasi("environ_get", &[pointers.into(), text.into()]).unwrap(), FAULT);
        }
        assert_eq!(wasm.wasi("environ_get", &[0x2_0000 - 8, 0x2_0000 - 15]).unwrap(), 0);
    });
}

#[test]
fn clocks_and_random_bytes() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        assert_eq!(wasm.wasi("clock_time_get", &[0, 1, 0]).unwrap(), 0);
        assert_eq!(wasm.u64_at(0), 0x0102_0304_0506_0708);
        assert_eq!(wasm.wasi("clock_time_get", &[1, u64::MAX, 0]).unwrap(), 0);
        assert_eq!(wasm.u64_at(0), 42);
        assert_eq!(wasm.wasi("clock_res_get", &[1, 0]).unwrap(), 0);
        assert_eq!(wasm.u64_at(0), 1);
        for id in [2, 3, 0xffff_ffff] {
            assert_eq!(wasm.wasi("clock_time_get", &[id, 0, 0]).unwrap(), INVAL);
            assert_eq!(wasm.wasi("clock_res_get", &[id, 0]).unwrap(), INVAL);
        }
        wasm.put(0, &[0; 4]);
        assert_eq!(wasm.wasi("random_get", &[1, 2]).unwrap(), 0);
        assert_eq!(wasm.u32_at(0), 0x00aa_aa00);
        assert_eq!(wasm.wasi("random_get", &[0, 0]).unwrap(), 0);
        assert_eq!(wasm.wasi("random_get", &[0, 65_536]).unwrap(), 0);
        assert_eq!(wasm.wasi("random_get", &[0, 65_537]).unwrap(), INVAL);
        assert_eq!(wasm.wasi("random_get", &[0x2_0000, 1]).unwrap(), FAULT);
        wasm.put(0, &[0xff; 4]);
        assert_eq!(wasm.wasi("poll_oneoff", &[0, 0, 1, 0]).unwrap(), 0);
        assert_eq!(wasm.u32_at(0), 0);
    });
}

#[test]
fn a_system_without_random_bytes_is_an_error_to_the_guest() {
    let mut rig = Rig::new();
    *rig.shared.no_randomness.lock().unwrap() = true;
    rig.request(|wasm| {
        wasm.put(0, &[1; 4]);
        assert_eq!(wasm.wasi("random_get", &[0, 4]).unwrap(), IO);
        assert_eq!(wasm.u32_at(0), 0x0101_0101);
        assert_eq!(wasm.wasi("random_get", &[0x2_0000, 1]).unwrap(), FAULT);
    });
    *rig.shared.no_randomness.lock().unwrap() = false;
    rig.request(|wasm| assert_eq!(wasm.wasi("random_get", &[0, 4]).unwrap(), 0));
}

#[test]
fn writes_to_the_standard_streams_are_log_lines() {
    let mut rig = Rig::new();
    let stream = rig.stream;
    rig.request(|wasm| {
        wasm.put(DATA, b"hello\n");
        let vectors = [DATA, 3, DATA + 3, 0, DATA + 3, 3].map(u32::to_le_bytes).concat();
        wasm.put(64, &vectors);
        assert_eq!(wasm.wasi("fd_write", &[1, 64, 3, 0]).unwrap(), 0);
        assert_eq!(wasm.u32_at(0), 6);
        assert_eq!(wasm.wasi("fd_write", &[2, 64, 1, 0]).unwrap(), 0);
        assert_eq!(wasm.u32_at(0), 3);
        // Nothing, in no pieces and in many.
        assert_eq!(wasm.wasi("fd_write", &[1, 64, 0, 0]).unwrap(), 0);
        assert_eq!(wasm.u32_at(0), 0);
        wasm.put(0x4000, &[0; 8 * 1024]);
        assert_eq!(wasm.wasi("fd_write", &[1, 0x4000, 1024, 0]).unwrap(), 0);
        assert_eq!(wasm.wasi("fd_write", &[1, 0x4000, 1025, 0]).unwrap(), INVAL);
        assert_eq!(wasm.wasi("fd_write", &[1, 0x4000, 0xffff_ffff, 0]).unwrap(), INVAL);
        for fd in [0, 3, 0xffff_ffff] {
            assert_eq!(wasm.wasi("fd_write", &[fd, 64, 1, 0]).unwrap(), BADF);
        }
        // A later piece that is bad keeps the earlier ones from being written.
        let vectors = [DATA, 3, 0x1_ffff, 2].map(u32::to_le_bytes).concat();
        wasm.put(64, &vectors);
        assert_eq!(wasm.wasi("fd_write", &[1, 64, 2, 0]).unwrap(), FAULT);
        assert_eq!(wasm.wasi("fd_write", &[1, 0x2_0000 - 8, 2, 0]).unwrap(), FAULT);
    });
    let lines: Vec<_> = rig.take_logs().into_iter().map(|(level, line, context, _)| (level, line, context)).collect();
    assert_eq!(lines, [(LogLevel::Info, b"hello".to_vec(), stream), (LogLevel::Error, b"hel".to_vec(), stream)]);
}

/// Go writes a line in several calls.
#[test]
fn a_line_is_whole_whatever_pieces_it_is_written_in() {
    let mut rig = Rig::new();
    let write = |wasm: &mut Wasm<'_>, fd: u64, text: &str| {
        let [at, len] = wasm.put(DATA, text.as_bytes());
        wasm.put(64, &[at, len].map(u32::to_le_bytes).concat());
        assert_eq!(wasm.wasi("fd_write", &[fd, 64, 1, 0]).unwrap(), 0);
        assert_eq!(wasm.u32_at(0), len);
    };
    rig.request(move |wasm| {
        write(wasm, 2, "panic: ");
        write(wasm, 1, "first\nsec");
        write(wasm, 2, "no ");
        write(wasm, 2, "reason\n\n");
        write(wasm, 1, "ond\nthird");
        write(wasm, 2, "rest");
    });
    let lines = |rig: &Rig| -> Vec<_> {
        rig.take_logs().into_iter().map(|(level, line, ..)| (level, String::from_utf8(line).unwrap())).collect()
    };
    let (info, error) = (LogLevel::Info, LogLevel::Error);
    let expected = [(info, "first"), (error, "panic: no reason"), (info, "second"), (info, "third"), (error, "rest")];
    assert_eq!(lines(&rig), expected.map(|(level, line)| (level, line.to_owned())));
    // Nothing of it is left for the next callback.
    rig.request(move |wasm| write(wasm, 1, "next\n"));
    assert_eq!(lines(&rig), [(info, "next".to_owned())]);
}

#[test]
fn what_was_written_before_a_trap_is_kept() {
    let mut rig = Rig::new();
    let stream = rig.stream;
    let stopped = rig.run(Callback::RequestHeaders, stream, |wasm| {
        let [at, len] = wasm.put(DATA, b"last words");
        wasm.put(64, &[at, len].map(u32::to_le_bytes).concat());
        wasm.wasi("fd_write", &[2, 64, 1, 0])?;
        Err::<(), _>(Stop::trap(TrapKind::Unreachable))
    });
    assert!(stopped.is_err());
    let expected = (LogLevel::Error, b"last words".to_vec(), stream, Some(Callback::RequestHeaders));
    assert_eq!(rig.take_logs(), [expected]);
}

/// The guest is told how much was taken, as by any file.
#[test]
fn one_write_takes_64_kib_and_so_much_is_the_longest_line() {
    let mut rig = Rig::new();
    let seen = rig.request(|wasm| {
        let vectors = [0_u32, 0x2_0000].map(u32::to_le_bytes).concat().repeat(1024);
        wasm.put(0x4000, &vectors);
        (wasm.wasi("fd_write", &[1, 0x4000, 1024, 0]).unwrap(), wasm.u32_at(0))
    });
    assert_eq!(seen, (0, 64 << 10));
    assert_eq!(rig.take_logs()[0].1.len(), 64 << 10);
    rig.request(|wasm| {
        wasm.put(DATA, &[b'x'; 0x6000]);
        wasm.put(64, &[DATA, 0x6000].map(u32::to_le_bytes).concat());
        for _ in 0..4 {
            assert_eq!(wasm.wasi("fd_write", &[1, 64, 1, 0]).unwrap(), 0);
        }
    });
    let lengths: Vec<usize> = rig.take_logs().iter().map(|(_, line, ..)| line.len()).collect();
    assert_eq!(lengths, [64 << 10, 4 * 0x6000 - (64 << 10)]);
}

#[test]
fn input_is_at_its_end() {
    let mut rig = Rig::new();
    rig.request(|wasm| {
        wasm.put(0, &[0xff; 4]);
        assert_eq!(wasm.wasi("fd_read", &[0, 0, 0, 0]).unwrap(), 0);
        assert_eq!(wasm.u32_at(0), 0);
        assert_eq!(wasm.wasi("fd_read", &[1, 0, 0, 0]).unwrap(), NOTSUP);
        assert_eq!(wasm.wasi("fd_read", &[3, 0, 0, 0]).unwrap(), BADF);
    });
}

#[test]
fn exit_ends_the_guest_from_everywhere() {
    for callback in [Callback::Start, Callback::Initialize, Callback::RequestHeaders, Callback::Log] {
        for code in [0, 1, u64::from(u32::MAX)] {
            let mut rig = Rig::new();
            let stop =
                rig.run(callback, 3, move |wasm| wasm.import("wasi_unstable", "proc_exit", &[code])).unwrap_err();
            assert_eq!(stop.to_string(), format!("the guest exited with code {}", code as u32 as i32));
        }
    }
}
