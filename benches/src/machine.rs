//! The machine that was measured on.

use std::fs;

use serde::Serialize;

/// What numbers cannot be compared without. What the system does not tell is `None`.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Machine {
    /// The processor's own name.
    pub cpu: Option<String>,
    /// How many threads can run at once.
    pub cores: Option<usize>,
    /// The architecture and the system, as `x86_64-linux`.
    pub target: String,
    /// The kernel's version.
    pub kernel: Option<String>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// How many threads wanted to run during the minute before.
    pub load: Option<f64>,
}

impl Machine {
    /// This machine, now.
    pub fn this() -> Self {
        let first_word =
            |file: &str| -> Option<f64> { fs::read_to_string(file).ok()?.split_whitespace().next()?.parse().ok() };
        Machine {
            cpu: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
            memory_bytes: field("/proc/meminfo", "MemTotal").and_then(|text| kibibytes(&text)),
            load: first_word("/proc/loadavg"),
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        let mut parts = vec![self.cpu.clone().unwrap_or_else(|| "unknown processor".to_owned())];
        if let Some(cores) = self.cores {
            parts.push(format!("{cores} threads"));
        }
        parts.push(match &self.kernel {
            Some(kernel) => format!("{}, kernel {kernel}", self.target),
            None => self.target.clone(),
        });
        if let Some(load) = self.load {
            parts.push(format!("load {load:.2}"));
        }
        parts.join(", ")
    }
}

/// The first `name: value` line of a file.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kibibytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_kibibytes() {
        assert_eq!(kibibytes("16 kB"), Some(16384));
        assert_eq!(kibibytes("16 pages"), None);
    }

    #[test]
    fn a_machine_that_tells_nothing_is_still_described() {
        let machine = Machine { target: "riscv64-plan9".to_owned(), ..Machine::default() };
        assert_eq!(machine.line(), "unknown processor, riscv64-plan9");
        assert!(Machine::this().line().contains(std::env::consts::ARCH));
    }
}
