//! Asks the running router, over the Unix socket beside its store: one small HTTP request, one bounded answer, one deadline.
//!
//! Only the user that runs the router can open the socket, so there is no secret.

use super::Failure;
use crate::settings::Settings;
use crate::shell;
use serde_json::Value;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the router may take to say how things are.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to make something durable: a disk that is slow with its fsync is no reason to give up.
const LONG_PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;
/// More headers than the router ever sends.
const HEADERS: usize = 64;

/// A router that runs.
pub(super) struct Client {
    socket: PathBuf,
    stream: UnixStream,
}

/// What it said.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; `null` when there is none.
    pub body: Value,
}

impl Answer {
    /// The router's own sentence about why not.
    pub(super) fn sentence(&self) -> String {
        match self.body.get("error").and_then(Value::as_str) {
            Some(sentence) => sentence.to_string(),
            None => format!("the router answered HTTP {}", self.status),
        }
    }
}

impl Client {
    /// The router that has this store open; `None` when none runs.
    pub(super) fn reach(settings: &Settings) -> Result<Option<Client>, Failure> {
        let socket = shell::control_socket(&settings.database.path);
        // mio connects without waiting, even when the other side is frozen and its queue is full.
        match mio::net::UnixStream::connect(&socket) {
            Ok(stream) => Ok(Some(Client { socket, stream: UnixStream::from(OwnedFd::from(stream)) })),
            Err(error) => match error.kind() {
                // A path that is too long for a socket is one that no router could start with either.
                ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::InvalidInput => Ok(None),
                ErrorKind::PermissionDenied => Err(Failure::failed(format!(
                    "the router's socket {} cannot be opened: {error}",
                    socket.display()
                ))
                .hint("run this as the user that runs the router, for example with sudo -u")),
                ErrorKind::WouldBlock => Err(silent(&socket)),
                _ => Err(Failure::failed(format!(
                    "the router's socket {} cannot be opened: {error}",
                    socket.display()
                ))),
            },
        }
    }

    /// Asks once.
    pub(super) fn get(self, path: &str) -> Result<Answer, Failure> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        self.ask(&request, PATIENCE)
    }

    /// Says something once, with the idempotency key if there is one.
    pub(super) fn post(self, path: &str, body: &Value, key: Option<&str>) -> Result<Answer, Failure> {
        self.post_within(LONG_PATIENCE, path, body, key)
    }

    /// The same for what waits for more than the router's disk.
    pub(super) fn post_within(
        self,
        patience: Duration,
        path: &str,
        body: &Value,
        key: Option<&str>,
    ) -> Result<Answer, Failure> {
        let body = body.to_string();
        let key = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             {key}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.ask(&request, patience)
    }

    fn ask(mut self, request: &str, patience: Duration) -> Result<Answer, Failure> {
        let deadline = Instant::now() + patience;
        let exchanged = self.exchange(request.as_bytes(), deadline);
        exchanged.map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => silent(&self.socket),
            ErrorKind::InvalidData => {
                Failure::failed(format!("what answers at {} is no router: {error}", self.socket.display()))
            }
            _ => Failure::failed(format!("the router ended before it answered: {error}"))
                .hint("whether it did what was asked is shown by `rapidsms messages`"),
        })
    }

    fn exchange(&mut self, request: &[u8], deadline: Instant) -> io::Result<Answer> {
        self.stream.set_nonblocking(false)?;
        self.stream.set_write_timeout(Some(LONG_PATIENCE))?;
        // A refusal may come before the whole request was read; then it is the answer.
        if let Err(error) = self.stream.write_all(request)
            && error.kind() != ErrorKind::BrokenPipe
        {
            return Err(error);
        }
        let mut octets = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(answer) = parse(&octets, false)? {
                return Ok(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return parse(&octets, true)?.ok_or_else(|| ErrorKind::UnexpectedEof.into()),
                Ok(count) => octets.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if octets.len() > LONGEST_ANSWER {
                return Err(io::Error::new(ErrorKind::InvalidData, "its answer is longer than 16 MiB"));
            }
        }
    }
}

fn silent(socket: &std::path::Path) -> Failure {
    Failure::failed(format!("the router at {} runs but does not answer", socket.display())).hint(
        "look at its log; a stopped or frozen process keeps the socket, SIGTERM and a new start free it",
    )
}

/// The answer, once it is whole; without a length it ends with the connection (RFC 9112 clause 6.3).
fn parse(octets: &[u8], ended: bool) -> io::Result<Option<Answer>> {
    let invalid = |why: String| io::Error::new(ErrorKind::InvalidData, why);
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let start = match response.parse(octets).map_err(|error| invalid(error.to_string()))? {
        httparse::Status::Complete(start) => start,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or_default();
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let body = &octets[start..];
    let body = match length {
        Some(header) => {
            let length =
                std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse::<usize>().ok());
            let length = length.ok_or_else(|| invalid("its Content-Length is no number".into()))?;
            match body.get(..length) {
                Some(body) => body,
                None => return Ok(None),
            }
        }
        None if ended => body,
        None => return Ok(None),
    };
    if body.is_empty() {
        return Ok(Some(Answer { status, body: Value::Null }));
    }
    let body =
        serde_json::from_slice(body).map_err(|error| invalid(format!("its answer is no JSON: {error}")))?;
    Ok(Some(Answer { status, body }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole_and_not_before() {
        let whole = "HTTP/1.1 202 Accepted\r\nContent-Length: 12\r\n\r\n{\"id\":\"abc\"}";
        for end in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..end], false).unwrap().is_none(), "{end} octets");
        }
        let answer = parse(whole.as_bytes(), false).unwrap().unwrap();
        assert_eq!((answer.status, answer.body["id"].as_str()), (202, Some("abc")));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for wrong in [
            "SSH-2.0-whatever\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
        ] {
            assert!(parse(wrong.as_bytes(), true).is_err(), "{wrong}");
        }
    }
}
