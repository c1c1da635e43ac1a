//! The front check: size, validity and limits, the same whichever engine comes after it.

use wasmparser::{Validator, WasmFeatures};

use crate::module::ModuleError;

/// What a module may contain. Compiling is where a small module can cost much, so the limits are on what compilers
/// take long for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontLimits {
    /// Bytes of the whole module.
    pub module_bytes: u64,
    /// Functions that it defines.
    pub functions: u64,
    /// Bytes of one function's body.
    pub body_bytes: u64,
    /// Locals of one function, parameters included.
    pub locals: u64,
    /// Locals times branches of one function. Blocks, calls through tables and operators over ranges count as branches:
    /// compilers keep each live local over each of them.
    pub locals_times_branches: u64,
    /// Parameters of one function type.
    pub params: u64,
    /// Results of one function type.
    pub results: u64,
    /// Types, imports, exports, globals, data and element segments: entries of one section.
    pub section_entries: u64,
    /// Elements of all element segments together. They take one byte each in a module, and many times that in an engine.
    pub elements: u64,
    /// Tables.
    pub tables: u64,
    /// Memories, imported ones included.
    pub memories: u64,
}

impl Default for FrontLimits {
    /// 16 MiB, 100,000 functions of at most 1 MiB, 10,000 locals, 8 million locals times branches, 100 parameters,
    /// 16 results, 100,000 entries a section, 200,000 elements, 16 tables and one memory.
    fn default() -> Self {
        FrontLimits {
            module_bytes: 16 << 20,
            functions: 100_000,
            body_bytes: 1 << 20,
            locals: 10_000,
            locals_times_branches: 8_000_000,
            params: 100,
            results: 16,
            section_entries: 100_000,
            elements: 200_000,
            tables: 16,
            memories: 1,
        }
    }
}

/// What every engine is set to accept: WebAssembly 2.0 with SIMD, without what came after it, and without `externref`,
/// which needs a garbage collector in engines that compile.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::WASM2.difference(WasmFeatures::GC_TYPES);

pub(crate) fn size_and_magic(bytes: &[u8], limits: &FrontLimits) -> Result<(), ModuleError> {
    within("module size in bytes", bytes.len() as u64, limits.module_bytes)?;
    if bytes.is_empty() {
        return Err(ModuleError::Empty);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(ModuleError::NotWasm(beginning(bytes)));
    }
    let Some(header) = bytes.get(4..8) else {
        return Err(ModuleError::Invalid { offset: bytes.len(), message: "cut in the header".to_owned() });
    };
    let version = u16::from_le_bytes([header[0], header[1]]);
    let layer = u16::from_le_bytes([header[2], header[3]]);
    match (version, layer) {
        (1, 0) => Ok(()),
        (_, 1) => Err(ModuleError::Component),
        (version, _) => Err(ModuleError::Version(version)),
    }
}

pub(crate) fn validate(bytes: &[u8]) -> Result<(), ModuleError> {
    Validator::new_with_features(FEATURES).validate_all(bytes).map(|_| ()).map_err(invalid)
}

pub(crate) fn within(what: impl Into<String>, found: u64, limit: u64) -> Result<(), ModuleError> {
    if found <= limit { Ok(()) } else { Err(ModuleError::Limit { what: what.into(), found, limit }) }
}

pub(crate) fn invalid(error: wasmparser::BinaryReaderError) -> ModuleError {
    let message = error.message();
    let hint = match message {
        message if message.contains("unexpected end") => ": is the file whole?",
        message if message.contains("must be enabled") || message.contains("not enabled") => {
            ": this host runs WebAssembly 2.0 with SIMD; build the plugin without what came later"
        }
        _ => "",
    };
    ModuleError::Invalid { offset: error.offset(), message: format!("{message}{hint}") }
}

/// What a file that is no module begins with, in words where they are known.
fn beginning(bytes: &[u8]) -> String {
    let known: [(&[u8], &str); 5] = [
        (b"\x1f\x8b", "a gzip header"),
        (b"\x7fELF", "an ELF header"),
        (b"PK", "a zip header"),
        (b"#!", "a script's first line"),
        (b"<", "`<`, as a web page does"),
    ];
    if let Some((_, words)) = known.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return (*words).to_owned();
    }
    let shown: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("bytes {}", shown.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::CheckedModule;

    fn error(bytes: &[u8]) -> String {
        CheckedModule::new(bytes, &FrontLimits::default()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_module_is_named() {
        assert_eq!(error(b""), "the file is empty");
        assert_eq!(error(b"\x1f\x8b\x08\0rest"), "not a WebAssembly module: it begins with a gzip header");
        assert_eq!(error(b"abc"), "not a WebAssembly module: it begins with bytes 61 62 63");
        assert!(error(b"\0asm\x0d\0\x01\0").contains("a component, not a module"));
        assert_eq!(error(b"\0asm\x02\0\0\0"), "WebAssembly binary version 2 is not known, only version 1");
        assert!(error(b"\0asm\x01").contains("cut in the header"));
    }

    #[test]
    fn what_would_help_is_said() {
        let shared = wat::parse_str("(module (memory 1 1 shared))").unwrap();
        assert!(error(&shared).ends_with("build the plugin without what came later"), "{}", error(&shared));
        let whole = wat::parse_str("(module (func))").unwrap();
        assert!(error(&whole[..whole.len() - 1]).ends_with("is the file whole?"));
    }

    #[test]
    fn every_prefix_of_a_module_is_refused_or_valid_and_nothing_panics() {
        let whole = wat::parse_str(
            r#"(module (import "env" "f" (func (param i32))) (memory (export "memory") 1)
                (table 3 funcref) (elem (i32.const 0) 0) (data (i32.const 8) "abc")
                (func (export "g") (param i32) (result i32) (local i64) (if (local.get 0) (then)) (i32.const 1)))"#,
        )
        .unwrap();
        for end in 0..whole.len() {
            let _ = CheckedModule::new(&whole[..end], &FrontLimits::default());
        }
        for i in 0..whole.len() {
            let mut changed = whole.clone();
            changed[i] ^= 0xff;
            let _ = CheckedModule::new(changed, &FrontLimits::default());
        }
        assert!(CheckedModule::new(whole, &FrontLimits::default()).is_ok());
    }

    #[test]
    fn later_features_are_refused() {
        for wat in [
            "(module (memory i64 1))",
            "(module (memory 1 1 shared))",
            "(module (memory 1) (memory 1))",
            "(module (type (struct)))",
            "(module (table 1 externref))",
            "(module (func (result v128) (v128.const i32x4 0 0 0 0) (v128.const i32x4 0 0 0 0) (i32x4.relaxed_trunc_f32x4_s) (drop)))",
        ] {
            let bytes = wat::parse_str(wat).unwrap();
            assert!(CheckedModule::new(bytes, &FrontLimits::default()).is_err(), "{wat}");
        }
    }

    #[test]
    fn each_limit_holds_at_its_edge() {
        let wat = r#"(module (type (func (param i32 i32) (result i32)))
            (table 1 funcref) (memory 1) (global i32 (i32.const 0)) (elem func 0 0 0)
            (func (type 0) (local i64) (if (local.get 0) (then)) (i32.const 1)))"#;
        let bytes = wat::parse_str(wat).unwrap();
        let exact = FrontLimits {
            module_bytes: bytes.len() as u64,
            functions: 1,
            body_bytes: 11,
            locals: 3,
            locals_times_branches: 3,
            params: 2,
            results: 1,
            section_entries: 1,
            elements: 3,
            tables: 1,
            memories: 1,
        };
        let check = |limits: &FrontLimits| CheckedModule::new(bytes.clone(), limits).map(|_| ());
        assert_eq!(check(&exact), Ok(()));
        let tighter: [fn(&mut FrontLimits); 11] = [
            |l| l.module_bytes -= 1,
            |l| l.functions -= 1,
            |l| l.body_bytes -= 1,
            |l| l.locals -= 1,
            |l| l.locals_times_branches -= 1,
            |l| l.params -= 1,
            |l| l.results -= 1,
            |l| l.section_entries -= 1,
            |l| l.elements -= 1,
            |l| l.tables -= 1,
            |l| l.memories -= 1,
        ];
        for (i, tighten) in tighter.iter().enumerate() {
            let mut limits = exact.clone();
            tighten(&mut limits);
            assert!(matches!(check(&limits), Err(ModuleError::Limit { .. })), "limit {i}");
        }
    }
}
