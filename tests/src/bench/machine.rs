//! What the figures were measured on.

use std::fs;

use rustix::system::uname;

/// Processor, cores, memory and kernel, in a line; nothing that names this machine.
pub fn describe() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let model = field(&cpus, "model name").unwrap_or("a processor without a name");
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kib = field(&memory, "MemTotal").and_then(|total| total.strip_suffix(" kB")?.parse().ok());
    let gib = kib.unwrap_or(0.0) / f64::from(1 << 20);
    let kernel = uname();
    let kernel = kernel.release().to_string_lossy().into_owned();
    format!("{cores} cores of {model}, {gib:.0} GiB, Linux {kernel}")
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_name() {
        let text = "processor\t: 0\nmodel name\t: A B\nmodel\t: 1\n";
        assert_eq!(field(text, "model name"), Some("A B"));
        assert_eq!(field(text, "flags"), None);
    }
}
