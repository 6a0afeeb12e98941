//! strace on a running broker: its system calls in their order, and syncs that fail.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{Broker, Lines};

/// A call that strace saw: the lines of the trace at which it began and ended are its times.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// From the parenthesis on.
    pub(crate) arguments: String,
    pub(crate) result: i64,
    pub(crate) began: usize,
    pub(crate) ended: usize,
}

impl Call {
    /// The first argument, when it is a file descriptor.
    pub(crate) fn descriptor(&self) -> Option<u32> {
        let digits: String = self.arguments.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    }

    /// The bytes that it moved: all strings, up to the result.
    pub(crate) fn data(&self) -> Vec<u8> {
        let quoted = self.arguments.split('"').skip(1).step_by(2);
        let hex = quoted.flat_map(|text| text.split("\\x").skip(1));
        let byte = |text| u8::from_str_radix(text, 16).expect("strace was told to write \\x");
        let moved = usize::try_from(self.result).unwrap_or(0);
        hex.map(byte).take(moved).collect()
    }
}

/// Attached to a broker until it is dropped or [detached](Self::detach).
pub(crate) struct Strace {
    child: Child,
    words: Lines,
    file: PathBuf,
}

impl Strace {
    /// Attaches, and sees all that moves bytes to clients and to the disk. From the n-th sync on
    /// each fails, if so wanted: until strace leaves.
    ///
    /// `None`, and a line that says so, where strace is missing or may not do this.
    pub(crate) fn attach(broker: &Broker, failing_from: Option<u64>) -> Option<Self> {
        if !is_usable() {
            println!("SKIPPED: strace is missing here, or it may not attach to a process");
            return None;
        }
        let file = broker.path("trace");
        let mut command = Command::new("strace");
        command.args(["-f", "-xx", "-s", "1000000", "-e", "signal=none"]);
        command.args(["-e", "trace=recvfrom,sendto,writev,sendmsg,close,fdatasync,fsync"]);
        if let Some(number) = failing_from {
            let inject = format!("inject=fdatasync,fsync:error=EIO:when={number}+");
            command.args(["-e", &inject]);
        }
        let (child, words) = attach(command, broker.pid(), &file);
        words.wait_for("attached");
        Some(Self { child, words, file })
    }

    /// Leaves the broker alone, or finds it dead; what was seen.
    pub(crate) fn detach(mut self) -> Vec<Call> {
        end(&mut self.child, &self.words);
        let trace = fs::read_to_string(&self.file).expect("strace wrote there");
        parse(&trace)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        end(&mut self.child, &self.words);
    }
}

/// SIGTERM makes strace detach from all threads and end.
fn end(child: &mut Child, words: &Lines) {
    if child.try_wait().expect("it is our child").is_some() {
        return;
    }
    let signal = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", child.id())).status();
    signal.expect("sh runs");
    assert!(words.wait_end(), "strace does not end:\n{}", words.text());
    child.wait().expect("it is our child");
}

fn attach(mut command: Command, pid: u32, file: &Path) -> (Child, Lines) {
    command.arg("-o").arg(file).args(["-p", &pid.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("strace starts");
    let words = Lines::read(child.stderr.take().expect("stderr is piped"));
    (child, words)
}

/// Whether it is there and may attach to a process that is not its child.
fn is_usable() -> bool {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return false;
    }
    let mut subject = Command::new("cat");
    subject.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut subject = subject.spawn().expect("cat starts");
    let (mut child, words) = attach(Command::new("strace"), subject.id(), Path::new("/dev/null"));
    // It ends with its subject, or because it may not attach.
    let mut input = subject.stdin.take().expect("stdin is piped");
    while !words.text().contains("attached") && !words.wait_end_for(Duration::from_millis(10)) {}
    input.write_all(b"\n").expect("cat reads");
    drop(input);
    subject.wait().expect("it is our child");
    assert!(words.wait_end(), "strace outlives what it was attached to");
    child.wait().expect("it is our child");
    words.text().contains("attached")
}

/// The calls of a trace, in the order of their ends.
pub(crate) fn parse(trace: &str) -> Vec<Call> {
    let mut unfinished: Vec<(&str, usize, String)> = Vec::new();
    let mut calls = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else {
            continue;
        };
        let text = text.trim_start();
        if let Some(start) = text.strip_suffix("<unfinished ...>") {
            unfinished.push((thread, number, start.trim_end().to_owned()));
            continue;
        }
        let (began, whole) = if text.starts_with("<... ") {
            let place = unfinished.iter().position(|(of, ..)| *of == thread);
            let rest = text.split_once(" resumed>").map(|(_, rest)| rest);
            let (Some(place), Some(rest)) = (place, rest) else {
                continue; // It began before strace came.
            };
            let (_, began, start) = unfinished.swap_remove(place);
            (began, start + rest)
        } else {
            (number, text.to_owned())
        };
        calls.extend(call(&whole, began, number));
    }
    calls
}

/// `None` for what is no call: a signal, an exit, a call without an end.
fn call(text: &str, began: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ").or_else(|| rest.rsplit_once("= "))?;
    let result = result.split_whitespace().next()?.parse().ok()?;
    Some(Call { name: name.to_owned(), arguments: arguments.to_owned(), result, began, ended })
}

#[test]
fn a_trace_is_read_as_strace_writes_it() {
    let trace = r#"12 recvfrom(7, "\x32\x01", 65536, 0, NULL, NULL) = 2
13 fdatasync(11 <unfinished ...>
12 writev(7, [{iov_base="\x40\x02", iov_len=2}, {iov_base="\x00\x01", iov_len=2}], 2) = 3
13 <... fdatasync resumed>)        = -1 EIO (Input/output error) (INJECTED)
14 <... recvfrom resumed>"\x00", 1, 0, NULL, NULL) = 1
12 +++ exited with 0 +++"#;
    let calls = parse(trace);
    let seen = |call: &Call| (call.name.clone(), call.result, call.began, call.ended);
    let expected = [("recvfrom", 2, 0, 0), ("writev", 3, 2, 2), ("fdatasync", -1, 1, 3)];
    let expected =
        expected.map(|(name, result, began, ended)| (name.to_owned(), result, began, ended));
    assert_eq!(calls.iter().map(seen).collect::<Vec<_>>(), expected);
    assert_eq!(calls[1].descriptor(), Some(7));
    assert_eq!(calls[1].data(), [0x40, 2, 0]);
}
