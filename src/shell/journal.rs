//! The log's way out: a thread of its own writes it to standard error, so that a reader who stops reading (a full pipe, a stopped
//! terminal) never stops the router. What does not fit into the queue is dropped and counted.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use std::time::Duration;

/// So many lines wait for a slow reader.
const LINES: usize = 1_024;
/// How long the end waits for the last lines to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);

enum Entry {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

/// Where lines for people go. A clone goes to the same place.
#[derive(Clone)]
pub struct Journal {
    entries: Sender<Entry>,
    lost: Arc<AtomicU64>,
}

impl Journal {
    /// Starts the thread that writes to `out`.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<Journal> {
        let (entries, queue) = bounded(LINES);
        let journal = Journal { entries, lost: Arc::default() };
        let lost = Arc::clone(&journal.lost);
        Builder::new().name("log".into()).spawn(move || write(&queue, &lost, out))?;
        Ok(journal)
    }

    /// Says a line to whoever started the program.
    pub fn say(&self, line: &str) {
        self.put(format!("{line}\n").into_bytes());
    }

    /// Waits a moment for what has been said to be written.
    pub fn flush(&self) {
        let (done, written) = bounded(1);
        if self.entries.send_timeout(Entry::Flush(done), LAST_WORDS).is_ok() {
            // Whoever does not read now will not read the rest either.
            let _ = written.recv_timeout(LAST_WORDS);
        }
    }

    fn put(&self, line: Vec<u8>) {
        if self.entries.try_send(Entry::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The log's sink: each write is one whole record.
impl Write for Journal {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.put(record.to_vec());
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes until the last journal is gone. An error of the reader's side is the reader's.
fn write(queue: &Receiver<Entry>, lost: &AtomicU64, mut out: impl Write) {
    for entry in queue {
        match entry {
            Entry::Line(line) => {
                let _ = out.write_all(&line);
            }
            Entry::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = writeln!(out, "({missing} lines of the log were lost, for nobody read them in time)");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader who reads only when told.
    struct Gate(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_does_not_read_loses_lines_and_is_told() {
        let (open, gate) = bounded(0);
        let (sender, read) = crossbeam_channel::unbounded();
        let journal = Journal::start(Gate(gate, sender)).unwrap();
        // More than fit: none of these waits.
        (0..LINES + 100).for_each(|number| journal.say(&number.to_string()));
        drop(open);
        journal.flush();
        let read: String = read.try_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect();
        assert!(read.starts_with("0\n"), "{read}");
        assert!(read.contains("lines of the log were lost"), "{read}");
        let lines = read.lines().filter(|line| line.parse::<usize>().is_ok()).count();
        assert!((LINES..=LINES + 1).contains(&lines), "{lines} lines");
    }
}
