//! Guests as scripts: what a plugin does in each of its callbacks, a statement per line.
//!
//! A script becomes a module in the text format, so that every engine runs it as the Wasm that it is. Statements:
//! - `proxy_name(arguments)` calls a host function; `wasi_unstable.name(...)` names its module, `silent name()` takes the
//!   form without a result. Return pointers are given places of their own, unless they are written as `@address`.
//! - `return 1` returns.
//! - `(instruction)` is Wasm text as it stands: `(local.get 0)` is the context, `$saved` a global to keep a number in. What
//!   is left open, as `(loop $again`, is closed on a later line.
//!
//! Arguments: numbers; the ABI's names for maps, buffers, streams, levels and types of metrics; `"bytes"` or `"bytes" * 100`, also where a
//! plain pointer is wanted; `[name: value, ...]` for a serialised map; `iovs("...", ...)` for WASI's vectors; `@address+length` for bytes
//! wherever they are; `value` for what the last call returned; `(instruction)` for a number.

use std::collections::BTreeMap;
use std::fmt::Write;

use chassis_abi::{
    Answer, BufferType, CALLBACKS, Callback, HeaderList, LogLevel, MapType, MetricType, Param, Row, StreamType, TABLE,
};
use chassis_engine_api::{Sig, Ty};

use super::file::Abi;
use super::values::unescape;
use super::yaml::{At, Mistake};

/// Where return pointers point to, and how far they are from each other.
const SLOTS: u32 = 64;
const SLOT: u32 = 64;
/// Where constant bytes begin.
const DATA: u32 = 1024;
/// The most bytes that a script's arguments may have together.
const MOST: usize = 16 << 20;

/// The module of a script, in the text format.
///
/// # Errors
/// [`Mistake`] with the line of the statement.
pub(crate) fn module(script: &BTreeMap<String, At<String>>, abi: Abi) -> Result<String, Mistake> {
    let mut module = Module { data: Vec::new(), imports: Vec::new(), body: String::new(), value: None };
    for (name, statements) in script {
        let callback = CALLBACKS.iter().copied().find(|callback| callback.name() == name);
        let callback = callback.ok_or_else(|| Mistake::at(statements, format!("`{name}` is no callback")))?;
        module.callback(callback, statements, abi)?;
    }
    Ok(module.finish(abi))
}

struct Module {
    data: Vec<u8>,
    /// Host functions with the module that they are imported from.
    imports: Vec<(&'static str, &'static Row)>,
    body: String,
    /// Where the last call in this callback left the address of what it returned.
    value: Option<u32>,
}

impl Module {
    fn callback(&mut self, callback: Callback, statements: &At<String>, abi: Abi) -> Result<(), Mistake> {
        let sigs = callback.sigs();
        let sig = if abi == Abi::V010 { sigs[sigs.len() - 1] } else { sigs[0] };
        self.value = None;
        self.push(&format!("  (func (export \"{}\"){}\n", callback.name(), types(sig)));
        for (index, line) in statements.value.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let statement = self.statement(line, sig).map_err(|message| Mistake {
                line: statements.referenced.line() + index as u64,
                column: 0,
                message: format!("`{line}`: {message}"),
            })?;
            self.push(&format!("    {statement}\n"));
        }
        let result = match callback {
            Callback::VmStart | Callback::Configure | Callback::ValidateConfiguration | Callback::Done => 1,
            _ => 0,
        };
        if sig.result.is_some() {
            self.push(&format!("    (i32.const {result})"));
        }
        self.push(")\n");
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.body.push_str(text);
    }

    fn statement(&mut self, line: &str, sig: Sig) -> Result<String, String> {
        if line.starts_with(['(', ')']) {
            return Ok(line.to_owned());
        }
        if let Some(result) = line.strip_prefix("return") {
            let result = result.trim();
            return match (sig.result.is_some(), result.is_empty()) {
                (false, true) => Ok("(return)".to_owned()),
                (true, false) => Ok(format!("(return {})", number(result, "i32", "")?)),
                (false, false) => Err("the callback has no result".to_owned()),
                (true, true) => Err("the callback has a result".to_owned()),
            };
        }
        self.call(line)
    }

    fn call(&mut self, line: &str) -> Result<String, String> {
        let (silent, line) = match line.strip_prefix("silent ") {
            Some(line) => (true, line),
            None => (false, line),
        };
        let (name, rest) = line.split_once('(').ok_or("must be `name(arguments)`, `return` or `(instruction)`")?;
        let mut arguments = Arguments { rest };
        let (module, row) = find(name, silent).ok_or_else(|| format!("`{name}` is no host function"))?;
        let import = match self.imports.iter().position(|(m, r)| *m == module && r.name == row.name && r.sig == row.sig)
        {
            Some(import) => import,
            None => {
                self.imports.push((module, row));
                self.imports.len() - 1
            }
        };
        let mut values = Vec::new();
        let mut slot = SLOTS;
        let mut value = None;
        for param in row.params {
            if let Param::Out(name) = param {
                let place = match arguments.next()? {
                    Some(Argument::At(address, None)) => address.to_string(),
                    Some(_) => return Err("a return pointer is written `@address`".to_owned()),
                    None => slot.to_string(),
                };
                if *name == "data" {
                    value = Some(slot);
                }
                slot += SLOT;
                values.push(format!("(i32.const {place})"));
                continue;
            }
            let argument = arguments.next()?.ok_or_else(|| format!("the argument {param:?} is missing"))?;
            values.push(self.argument(*param, argument)?);
        }
        if arguments.next()?.is_some() {
            return Err("there are more arguments than parameters".to_owned());
        }
        arguments.end()?;
        self.value = value.or(self.value);
        let call = format!("(call $import{import} {})", values.join(" "));
        Ok(if row.sig.result.is_some() { format!("(drop {call})") } else { call })
    }

    fn argument(&mut self, param: Param, argument: Argument) -> Result<String, String> {
        let pointer = |(address, length): (u32, u32)| format!("(i32.const {address}) (i32.const {length})");
        match (param, argument) {
            (Param::Int(_) | Param::Long(_), Argument::Raw(raw)) => Ok(raw),
            (Param::Int(name), Argument::Word(word)) => number(&word, "i32", name),
            (Param::Long(_), Argument::Word(word)) => number(&word, "i64", ""),
            (Param::Int(_), Argument::Bytes(bytes)) => Ok(format!("(i32.const {})", self.place(&bytes)?.0)),
            (Param::Int(_), Argument::Vectors(list)) => {
                let mut table = Vec::new();
                for bytes in list {
                    let (address, length) = self.place(&bytes)?;
                    table.extend_from_slice(&address.to_le_bytes());
                    table.extend_from_slice(&length.to_le_bytes());
                }
                Ok(format!("(i32.const {})", self.place(&table)?.0))
            }
            (Param::Int(_), Argument::At(address, None)) => Ok(format!("(i32.const {address})")),
            (Param::Bytes(_) | Param::Pairs(_), Argument::Bytes(bytes)) => Ok(pointer(self.place(&bytes)?)),
            (Param::Pairs(_), Argument::Pairs(pairs)) => {
                let list: HeaderList = pairs.into_iter().collect();
                Ok(pointer(self.place(&list.encode())?))
            }
            (Param::Bytes(_) | Param::Pairs(_), Argument::At(address, Some(length))) => Ok(pointer((address, length))),
            (Param::Bytes(_) | Param::Pairs(_), Argument::Word(word)) if word == "value" => {
                let slot = self.value.ok_or("no call before this one returns bytes")?;
                Ok(format!("(i32.load (i32.const {slot})) (i32.load (i32.const {}))", slot + SLOT))
            }
            (param, _) => Err(format!("is not what {param:?} takes")),
        }
    }

    /// Keeps bytes in the module's memory; gives where they are and how many.
    fn place(&mut self, bytes: &[u8]) -> Result<(u32, u32), String> {
        if self.data.len() + bytes.len() > MOST {
            return Err(format!("the script has more than {MOST} bytes"));
        }
        let length = bytes.len() as u32;
        let known = self.data.windows(bytes.len().max(1)).step_by(8).position(|there| there == bytes);
        let at = known.map_or_else(
            || {
                let at = self.data.len();
                self.data.extend_from_slice(bytes);
                self.data.resize(self.data.len().next_multiple_of(8), 0);
                at
            },
            |known| known * 8,
        );
        Ok((DATA + at as u32, length))
    }

    fn finish(self, abi: Abi) -> String {
        let mut out = String::from("(module\n");
        // Writing to a string cannot fail.
        for (index, (module, row)) in self.imports.iter().enumerate() {
            let _ = writeln!(out, "  (import \"{module}\" \"{}\" (func $import{index}{}))", row.name, types(row.sig));
        }
        let heap = (DATA + self.data.len() as u32).next_multiple_of(16);
        let pages = heap / PAGE + 1;
        let _ = writeln!(out, "  (memory (export \"memory\") {pages})");
        let _ = write!(out, "  (data (i32.const {DATA}) \"");
        for byte in &self.data {
            let _ = write!(out, "\\{byte:02x}");
        }
        out.push_str("\")\n");
        let _ =
            writeln!(out, "  (global $heap (mut i32) (i32.const {heap}))\n  (global $saved (mut i32) (i32.const 0))");
        let marker = match abi {
            Abi::V010 => "proxy_abi_version_0_1_0",
            Abi::V020 => "proxy_abi_version_0_2_0",
            Abi::V021 => "proxy_abi_version_0_2_1",
        };
        let _ = writeln!(out, "  (func (export \"{marker}\"))");
        out.push_str(ALLOCATOR);
        out.push_str(&self.body);
        out.push_str(")\n");
        out
    }
}

const PAGE: u32 = 64 << 10;

/// Gives memory and never takes it back; grows where it must.
const ALLOCATOR: &str = r#"  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $heap))
    (global.set $heap
      (i32.and (i32.add (i32.add (local.get $at) (local.get $size)) (i32.const 15)) (i32.const -16)))
    (loop $more
      (if (i32.gt_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536)))
        (then
          (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))
          (return (i32.const 0)))))
    (local.get $at))
"#;

/// A host function by its name, which may have that of its module before it, as `wasi_unstable.fd_write`.
fn find(name: &str, silent: bool) -> Option<(&'static str, &'static Row)> {
    let (module, name) = match name.split_once('.') {
        Some((module, name)) => (Some(module), name),
        None => (None, name),
    };
    TABLE.iter().copied().filter(|row| row.name == name).find_map(|row| {
        let form =
            (row.answer == Answer::None) == silent || row.name == "proc_exit" || row.name.starts_with("emscripten");
        let module = row.modules.iter().copied().find(|known| module.is_none_or(|module| module == *known))?;
        form.then_some((module, row))
    })
}

/// Parameters and result in the text format.
fn types(sig: Sig) -> String {
    let name = |ty: &Ty| match ty {
        Ty::I32 => " i32",
        Ty::I64 => " i64",
        Ty::F32 => " f32",
        Ty::F64 => " f64",
        Ty::V128 => " v128",
        Ty::Ref => " externref",
    };
    let params: String = sig.params.iter().map(name).collect();
    let params = if params.is_empty() { params } else { format!(" (param{params})") };
    let result = sig.result.as_ref().map_or_else(String::new, |ty| format!(" (result{})", name(ty)));
    params + &result
}

/// A number or the ABI's name for one, as a constant.
fn number(word: &str, ty: &str, param: &str) -> Result<String, String> {
    let named = (0..16).find(|number| {
        let name = match param {
            "map" => MapType::from_u32(*number).map(MapType::as_str),
            "buffer" => BufferType::from_u32(*number).map(BufferType::as_str),
            "stream" => StreamType::from_u32(*number).map(StreamType::as_str),
            "level" => LogLevel::from_u32(*number).map(LogLevel::as_str),
            "metric_type" => MetricType::from_u32(*number).map(MetricType::as_str),
            _ => None,
        };
        name == Some(word)
    });
    if let Some(number) = named {
        return Ok(format!("({ty}.const {number})"));
    }
    let (digits, radix) = match word.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (word, 10),
    };
    let number = i128::from_str_radix(digits, radix).map_err(|_| format!("`{word}` is no number"))?;
    let (min, max) = if ty == "i64" { (i64::MIN.into(), u64::MAX.into()) } else { (i32::MIN.into(), u32::MAX.into()) };
    if (min..=max).contains(&number) {
        Ok(format!("({ty}.const {number})"))
    } else {
        Err(format!("`{word}` is too large"))
    }
}

/// Names and values.
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// An argument as it was written.
enum Argument {
    Word(String),
    Bytes(Vec<u8>),
    Pairs(Pairs),
    Vectors(Vec<Vec<u8>>),
    At(u32, Option<u32>),
    Raw(String),
}

/// What is left of the arguments of a call, the closing parenthesis included.
struct Arguments<'a> {
    rest: &'a str,
}

impl Arguments<'_> {
    fn next(&mut self) -> Result<Option<Argument>, String> {
        self.rest = self.rest.trim_start().trim_start_matches(',').trim_start();
        let Some(first) = self.rest.chars().next() else { return Err("a `)` is missing".to_owned()) };
        match first {
            ')' => Ok(None),
            '"' => self.repeated().map(Argument::Bytes).map(Some),
            '[' => self.pairs().map(Argument::Pairs).map(Some),
            '(' => self.raw().map(Some),
            '@' => self.at().map(Some),
            _ => {
                let end = self.rest.find([',', ')', '(']).ok_or("a `)` is missing")?;
                let word = self.take(end).trim().to_owned();
                if word == "iovs" && self.rest.starts_with('(') {
                    self.vectors().map(Some)
                } else {
                    Ok(Some(Argument::Word(word)))
                }
            }
        }
    }

    fn end(&self) -> Result<(), String> {
        match self.rest.strip_prefix(')').map(str::trim) {
            Some("") => Ok(()),
            _ => Err("there is more after the call".to_owned()),
        }
    }

    fn take(&mut self, end: usize) -> &str {
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn string(&mut self) -> Result<Vec<u8>, String> {
        let mut escaped = false;
        let end = self.rest[1..].find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.ok_or("a `\"` is missing")? + 2;
        let text = self.take(end);
        unescape(&text[1..text.len() - 1])
    }

    /// A text, and `* N` behind it if it is repeated.
    fn repeated(&mut self) -> Result<Vec<u8>, String> {
        let text = self.string()?;
        let Some(times) = self.rest.trim_start().strip_prefix('*') else { return Ok(text) };
        self.rest = times;
        let end = self.rest.find([',', ')']).ok_or("a `)` is missing")?;
        let times: usize = self.take(end).trim().parse().map_err(|_| "`*` is followed by a number")?;
        if text.len().saturating_mul(times) > MOST {
            return Err(format!("is longer than {MOST} bytes"));
        }
        Ok(text.repeat(times))
    }

    fn pairs(&mut self) -> Result<Pairs, String> {
        self.take(1);
        let mut pairs = Vec::new();
        loop {
            self.rest = self.rest.trim_start_matches([' ', ',']);
            if self.rest.starts_with(']') {
                self.take(1);
                return Ok(pairs);
            }
            // A pseudo-header's name begins with a colon.
            let name = match self.rest.starts_with('"') {
                true => self.string()?,
                false => {
                    let end = self.rest.char_indices().skip(1).find(|(_, c)| *c == ':').ok_or("a `:` is missing")?.0;
                    self.take(end).as_bytes().to_vec()
                }
            };
            self.rest = self.rest.strip_prefix(':').ok_or("a `:` is missing")?.trim_start();
            let value = match self.rest.starts_with('"') {
                true => self.string()?,
                false => {
                    let end = self.rest.find([',', ']']).ok_or("a `]` is missing")?;
                    unescape(self.take(end).trim())?
                }
            };
            pairs.push((name, value));
        }
    }

    fn vectors(&mut self) -> Result<Argument, String> {
        self.take(1);
        let mut list = Vec::new();
        loop {
            match self.next()? {
                Some(Argument::Bytes(bytes)) => list.push(bytes),
                Some(_) => return Err("`iovs` takes texts".to_owned()),
                None => {
                    self.take(1);
                    return Ok(Argument::Vectors(list));
                }
            }
        }
    }

    fn raw(&mut self) -> Result<Argument, String> {
        let mut depth = 0;
        let end = self.rest.find(|c| {
            depth += match c {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            depth == 0
        });
        let end = end.ok_or("a `)` is missing")?;
        Ok(Argument::Raw(self.take(end + 1).to_owned()))
    }

    fn at(&mut self) -> Result<Argument, String> {
        self.take(1);
        let end = self.rest.find([',', ')']).ok_or("a `)` is missing")?;
        let text = self.take(end).trim();
        let read = |text: &str| {
            let text = text.trim();
            let number = match text.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => text.parse(),
            };
            number.map_err(|_| format!("`{text}` is no address"))
        };
        match text.split_once('+') {
            Some((address, length)) => Ok(Argument::At(read(address)?, Some(read(length)?))),
            None => Ok(Argument::At(read(text)?, None)),
        }
    }
}
