//! Compiling in a child process, with this very program as the child: called with `compile --worker`, it does what the
//! argument after that says, right or wrong.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis_backend_wasmtime::WasmtimeEngine;
use chassis_engine_api::compile::{ChildCompiler, CompileError, CompilePolicy, worker};
use chassis_engine_api::{
    AnyEngine, AnyLinked, ArtefactError, Budget, CheckedModule, Engine, EngineError, Export, ExportSpec, FrontLimits,
    HostModule, Limits, LoadError, Profile, Registrar, Sig, Ty, erase,
};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["compile", "--worker", what, "--engine", engine, "--profile", profile] = args[..] {
        assert_eq!(engine, "wasmtime");
        return child(what, Profile::from_name(profile).unwrap());
    }
    let tests: [(&str, fn()); 9] = [
        ("a_module_compiled_in_the_child_runs_in_every_profile", runs),
        ("what_the_engine_refuses_is_told_in_its_words", refusals),
        ("a_child_that_never_ends_is_killed_at_the_wall_limit", never_ends),
        ("a_child_that_uses_too_much_cpu_time_is_named", cpu),
        ("a_child_that_uses_too_much_memory_is_named", memory),
        ("a_child_that_dies_says_how", dies),
        ("a_wrong_answer_is_never_loaded", wrong),
        ("an_endless_answer_is_cut", endless),
        ("a_program_that_does_not_exist_is_named", missing),
    ];
    let trial = |(name, test): (&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    libtest_mimic::run(&Arguments::from_args(), tests.into_iter().map(trial).collect()).exit_code()
}

fn child(what: &str, profile: Profile) -> ExitCode {
    let compile = |module: &CheckedModule| {
        let engine = WasmtimeEngine::new(profile)?;
        engine.save(&engine.compile(module)?)
    };
    let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
    let code = match what {
        "right" => worker(stdin, stdout, compile),
        "sleep" => sleep(),
        "sleep-later" => worker(stdin, stdout, |_| sleep()),
        "spin" => worker(stdin, stdout, |_| {
            loop {
                std::hint::spin_loop();
            }
        }),
        "eat" => worker(stdin, stdout, |_| {
            let mut eaten: Vec<Vec<u8>> = Vec::new();
            loop {
                eaten.push(vec![1; 1 << 20]);
            }
        }),
        "exit" => {
            eprintln!("cannot go on");
            7
        }
        "panic" => worker(stdin, stdout, |_| panic!("a bug in the compiler")),
        "abort" => std::process::abort(),
        "nothing" => 0,
        "garbage" => {
            stdout.write_all(&[0x5a; 10_000]).unwrap();
            0
        }
        "endless" => {
            while stdout.write_all(&[0; 1 << 16]).is_ok() {}
            0
        }
        // As if somebody else answered: the key is not the one that was sent.
        "other-key" => {
            let mut request = Vec::new();
            stdin.read_to_end(&mut request).unwrap();
            request[20] ^= 1;
            worker(&request[..], stdout, compile)
        }
        "other-module" => worker(stdin, stdout, |_| compile(&check("(module)"))),
        "other-profile" => worker(stdin, stdout, |module| {
            let engine = WasmtimeEngine::new(Profile::Fuel)?;
            engine.save(&engine.compile(module)?)
        }),
        "refuse" => worker(stdin, stdout, |_| {
            Err(EngineError::Compile { engine: "wasmtime", message: "not this one\x1b[0m".to_owned() })
        }),
        other => panic!("{other}"),
    };
    ExitCode::from(code)
}

fn sleep() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

struct Nothing;

impl HostModule<()> for Nothing {
    fn register<R: Registrar<()>>(_: &mut R) {}
}

static EXPORTS: [ExportSpec; 1] = [ExportSpec { name: "run", sig: Sig::new(&[Ty::I32], Some(Ty::I32)) }];

const GUEST: &str = r#"(module (memory (export "memory") 1)
    (func (export "run") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 6))))"#;

fn check(wat: &str) -> CheckedModule {
    CheckedModule::new(wat::parse_str(wat).unwrap(), &FrontLimits::default()).unwrap()
}

fn compiler(what: &str) -> ChildCompiler {
    ChildCompiler::new(std::env::current_exe().unwrap(), ["compile", "--worker", what])
}

fn load(profile: Profile, compiler: ChildCompiler) -> Result<Arc<dyn AnyLinked<()>>, LoadError> {
    let engine: Arc<dyn AnyEngine<()>> = erase::<_, Nothing, ()>(WasmtimeEngine::new(profile).unwrap(), &EXPORTS);
    engine.load(&check(GUEST), &CompilePolicy::Child(compiler))
}

fn error(compiler: ChildCompiler) -> CompileError {
    match load(Profile::Deadline, compiler) {
        Err(LoadError::Compile(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was loaded"),
    }
}

fn runs() {
    for profile in Profile::ALL {
        let linked = load(profile, compiler("right")).unwrap();
        let Ok(mut instance) = linked.instantiate((), &Limits::default(), Budget::UNLIMITED) else { panic!() };
        let mut slots = [7];
        instance.call(Export(0), &mut slots, Budget::UNLIMITED).unwrap();
        assert_eq!(slots, [42]);
    }
}

fn refusals() {
    let CompileError::Refused(message) = error(compiler("refuse")) else { panic!() };
    assert_eq!(message, "wasmtime could not compile the module: not this one [0m");
}

fn never_ends() {
    for what in ["sleep", "sleep-later"] {
        let begin = Instant::now();
        let wall = Duration::from_millis(700);
        let error = error(ChildCompiler { wall, ..compiler(what) });
        assert!(matches!(error, CompileError::WallTime(limit) if limit == wall), "{error}");
        assert_eq!(error.to_string(), "compiling took longer than the limit of 0.7 s");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }
}

fn cpu() {
    let begin = Instant::now();
    let error = error(ChildCompiler { cpu: Duration::from_secs(1), ..compiler("spin") });
    if cfg!(unix) {
        assert_eq!(error.to_string(), "compiling took more CPU time than the limit of 1 s");
        assert!(begin.elapsed() < Duration::from_secs(25), "{:?}", begin.elapsed());
    }
}

fn memory() {
    let limit = |what| ChildCompiler { memory_bytes: 100 << 20, ..compiler(what) };
    // What a small module needs is far below, address space for a pool of instances notwithstanding.
    assert!(load(Profile::Stream, limit("right")).is_ok());
    // Where the system does not hold a process to this limit, there is nothing to be seen of it.
    if cfg!(target_os = "linux") {
        let error = error(limit("eat"));
        assert_eq!(error.to_string(), "compiling took more memory than the limit of 104857600 bytes");
    }
}

fn dies() {
    let died = |what| match error(compiler(what)) {
        CompileError::Died(how) => how,
        other => panic!("{what}: {other:?}"),
    };
    assert_eq!(died("exit"), "exit status: 7: cannot go on");
    assert!(died("panic").contains("a bug in the compiler"));
    assert!(died("abort").starts_with("signal: 6"));
}

fn wrong() {
    for what in ["nothing", "garbage", "other-key"] {
        let error = error(compiler(what));
        assert!(matches!(error, CompileError::Answer(_)), "{what}: {error:?}");
    }
    let refused = |what| match error(compiler(what)) {
        CompileError::Engine(EngineError::Artefact(error)) => error,
        other => panic!("{what}: {other:?}"),
    };
    assert!(matches!(refused("other-module"), ArtefactError::WrongModule { .. }));
    assert!(matches!(refused("other-profile"), ArtefactError::WrongEngine { .. }));
}

fn endless() {
    let error = error(compiler("endless"));
    assert!(matches!(error, CompileError::TooLarge(_)), "{error:?}");
}

fn missing() {
    let error = error(ChildCompiler::new("./no-such-program", ["compile"]));
    assert!(error.to_string().starts_with("the compiler `./no-such-program` could not be started: "), "{error}");
}
