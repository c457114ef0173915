//! Bytes to whole requests (RFC 9112), strictly: a request that two programs could read in two ways is refused.
//!
//! No socket and no clock here: bytes are pushed in, requests or refusals come out, and how the bytes were cut into
//! pieces makes no difference (a property test holds that). What proxies and servers have disagreed about is
//! refused instead of guessed: bare LF, folded headers, white space before a colon, a repeated Content-Length,
//! Content-Length beside Transfer-Encoding. A chunked request body is answered 411: every gateway and browser
//! form states its length.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::Range;

use super::{AnswerForm, Request, Response};

/// How large the parts of one request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Request line and headers together, in bytes.
    pub head_bytes: usize,
    /// The request line alone, in bytes.
    pub request_line: usize,
    /// Number of headers.
    pub headers: usize,
    /// The body, in bytes.
    pub body_bytes: usize,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { head_bytes: 16 * 1024, request_line: 8 * 1024, headers: 64, body_bytes: 64 * 1024 }
    }
}

/// Why something is not a request that this server takes; the connection is closed after the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status of the answer.
    pub status: u16,
    /// What is wrong and what to do, for a person.
    pub sentence: Cow<'static, str>,
}

impl Refusal {
    pub(crate) fn new(status: u16, sentence: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { status, sentence: sentence.into() }
    }

    pub(crate) fn response(&self) -> Response {
        Response::error(self.status, &self.sentence)
    }
}

/// What the bytes so far amount to.
#[derive(Debug)]
pub enum Progress {
    /// Not a whole request yet.
    NeedsBytes,
    /// The client waits for `100 Continue` before it sends the body. Said at most once per request.
    NeedsContinue,
    /// A whole request; the reader is ready for the next one.
    Request(Request),
}

/// Collects the bytes of one connection and cuts requests out of them.
#[derive(Debug)]
pub struct RequestReader {
    sizes: Sizes,
    peer: Option<SocketAddr>,
    input: Vec<u8>,
    scan: HeadScan,
    body: Option<AwaitedBody>,
}

/// How far the head has been looked at; a dripping client costs each byte once.
#[derive(Clone, Copy, Debug, Default)]
struct HeadScan {
    at: usize,
    start: usize,
    line_start: usize,
    lines: usize,
}

/// A request whose head is complete and whose body is not.
#[derive(Debug)]
struct AwaitedBody {
    request: Request,
    missing: usize,
    wants_continue: bool,
}

impl RequestReader {
    /// A reader for one connection.
    pub fn new(sizes: Sizes, peer: Option<SocketAddr>) -> RequestReader {
        RequestReader { sizes, peer, input: Vec::new(), scan: HeadScan::default(), body: None }
    }

    /// How many bytes may be pushed now; never zero while [`Progress::NeedsBytes`].
    pub fn room(&self) -> usize {
        match &self.body {
            Some(body) => body.missing,
            None => self.sizes.head_bytes.saturating_sub(self.input.len()).max(1),
        }
    }

    /// Takes bytes from the connection. What goes beyond the present request waits for the next.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if let Some(body) = &mut self.body {
            let taken = bytes.len().min(body.missing);
            body.request.body.extend_from_slice(&bytes[..taken]);
            body.missing -= taken;
            bytes = &bytes[taken..];
        }
        self.input.extend_from_slice(bytes);
    }

    /// Whether no byte of a next request has arrived.
    pub fn is_empty(&self) -> bool {
        self.input.is_empty() && self.body.is_none()
    }

    /// Whether a head is complete and its body is awaited.
    pub fn in_body(&self) -> bool {
        self.body.is_some()
    }

    /// The next whole request, if it is there. After a refusal the connection is of no further use, because
    /// nobody knows where the next request would begin.
    pub fn advance(&mut self) -> Result<Progress, Refusal> {
        if self.body.is_none() {
            let Some(end) = self.scan.run(&self.input, &self.sizes)? else { return Ok(Progress::NeedsBytes) };
            let mut body = self.read_head(self.scan.start..end)?;
            let taken = body.missing.min(self.input.len() - end);
            body.request.body.reserve(body.missing);
            body.request.body.extend_from_slice(&self.input[end..end + taken]);
            body.missing -= taken;
            self.input.drain(..end + taken);
            if self.input.capacity() > 4096 && self.input.is_empty() {
                self.input = Vec::new();
            }
            self.scan = HeadScan::default();
            self.body = Some(body);
        }
        match self.body.take() {
            Some(body) if body.missing == 0 => Ok(Progress::Request(body.request)),
            Some(mut body) => {
                let wants_continue = std::mem::take(&mut body.wants_continue);
                self.body = Some(body);
                Ok(if wants_continue { Progress::NeedsContinue } else { Progress::NeedsBytes })
            }
            None => Ok(Progress::NeedsBytes),
        }
    }

    fn read_head(&self, range: Range<usize>) -> Result<AwaitedBody, Refusal> {
        // The request line is checked to be ASCII below; in header values a stray Latin-1 byte becomes U+FFFD
        // rather than a reason to turn the client away.
        let head = String::from_utf8_lossy(&self.input[range]).into_owned();
        read_head(head, self.scan.lines, &self.sizes, self.peer)
    }
}

impl HeadScan {
    /// Looks at the bytes not seen yet. `Some(end)`: the head ends there, and it is made of well-formed lines.
    fn run(&mut self, input: &[u8], sizes: &Sizes) -> Result<Option<usize>, Refusal> {
        while let Some(&byte) = input.get(self.at) {
            if self.at >= sizes.head_bytes {
                return Err(head_too_large(sizes));
            }
            let after_cr = self.at > self.line_start && input[self.at - 1] == b'\r';
            match byte {
                b'\n' if !after_cr => {
                    return Err(Refusal::new(400, "a line of the head ends in LF alone; lines end in CR LF"));
                }
                b'\n' if self.at - self.line_start == 1 => {
                    if self.lines > 0 {
                        return Ok(Some(self.at + 1));
                    }
                    // One empty line before a request is forgiven (RFC 9112 clause 2.2), a stream of them is not.
                    if self.start > 0 {
                        return Err(Refusal::new(400, "empty lines where a request should begin"));
                    }
                    self.start = self.at + 1;
                    self.line_start = self.at + 1;
                }
                b'\n' => {
                    self.lines += 1;
                    if self.lines > sizes.headers + 1 {
                        return Err(Refusal::new(431, format!("more than {} headers", sizes.headers)));
                    }
                    self.line_start = self.at + 1;
                }
                _ if after_cr => {
                    return Err(Refusal::new(400, "CR without LF in the head; lines end in CR LF"));
                }
                b' ' | b'\t' if self.at == self.line_start => {
                    return Err(Refusal::new(
                        400,
                        "a line of the head begins with white space; folded headers are not taken",
                    ));
                }
                b'\r' | b'\t' => {}
                0..=0x1f | 0x7f => return Err(Refusal::new(400, "a control character in the head")),
                _ => {}
            }
            if self.lines == 0
                && byte != b'\r'
                && self.at.saturating_sub(self.line_start) >= sizes.request_line
            {
                return Err(Refusal::new(
                    414,
                    format!("the request line is longer than {} bytes", sizes.request_line),
                ));
            }
            self.at += 1;
        }
        if self.at >= sizes.head_bytes { Err(head_too_large(sizes)) } else { Ok(None) }
    }
}

fn head_too_large(sizes: &Sizes) -> Refusal {
    Refusal::new(431, format!("the request line and headers are larger than {} bytes", sizes.head_bytes))
}

/// A complete head, made of well-formed lines, to a request without its body.
fn read_head(
    head: String,
    lines: usize,
    sizes: &Sizes,
    peer: Option<SocketAddr>,
) -> Result<AwaitedBody, Refusal> {
    let mut slots = vec![httparse::EMPTY_HEADER; lines];
    let mut parsed = httparse::Request::new(&mut slots);
    parsed.parse(head.as_bytes()).map_err(|error| explain(error, &head))?;
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::new(400, "the head is not complete"));
    };
    let http_1_0 = minor == 0;
    let target = Target::read(method, target)?;

    let mut host = None;
    let mut length = None;
    let mut transfer_encoding = None;
    let (mut close, mut keep_alive) = (false, false);
    let mut expect = None;
    let mut headers = Vec::with_capacity(parsed.headers.len());
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim_matches([' ', '\t']);
        let name = header.name;
        if name.eq_ignore_ascii_case("host") {
            if host.replace(value).is_some() {
                return Err(Refusal::new(400, "more than one Host header"));
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            if length.replace(value).is_some() {
                return Err(Refusal::new(400, "more than one Content-Length header"));
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            transfer_encoding = Some(value);
        } else if name.eq_ignore_ascii_case("connection") {
            for option in value.split(',').map(str::trim) {
                close |= option.eq_ignore_ascii_case("close");
                keep_alive |= option.eq_ignore_ascii_case("keep-alive");
            }
        } else if name.eq_ignore_ascii_case("expect") {
            expect = Some(value);
        }
        headers.push((span(&head, name), span(&head, value)));
    }

    match host {
        None if !http_1_0 => {
            return Err(Refusal::new(400, "HTTP/1.1 wants a Host header, and there is none"));
        }
        Some(host) if !is_host(host) => {
            return Err(Refusal::new(
                400,
                "the Host header is not a host name or address with an optional port",
            ));
        }
        _ => {}
    }
    let missing = body_length(length, transfer_encoding, http_1_0, sizes)?;
    let wants_continue = match expect {
        // RFC 9110 clause 10.1.1: an expectation in HTTP/1.0 is ignored.
        _ if http_1_0 => false,
        None => false,
        Some(value) if value.eq_ignore_ascii_case("100-continue") => true,
        Some(_) => return Err(Refusal::new(417, "the only expectation understood is 100-continue")),
    };

    let form =
        AnswerForm { keep_alive: !close && (!http_1_0 || keep_alive), http_1_0, head_only: method == "HEAD" };
    // In an absolute target the authority counts, not the Host header (RFC 9112 clause 3.2.2).
    let host = target.authority.or(host).map(|host| span(&head, host));
    let (method, path, query) = (span(&head, method), span(&head, target.path), span(&head, target.query));
    let request = Request { method, path, query, host, headers, body: Vec::new(), peer, form, head };
    Ok(AwaitedBody { request, missing, wants_continue: wants_continue && missing > 0 })
}

/// The parts of a request target (RFC 9112 clause 3.2).
struct Target<'head> {
    authority: Option<&'head str>,
    path: &'head str,
    query: &'head str,
}

impl<'head> Target<'head> {
    fn read(method: &str, target: &'head str) -> Result<Target<'head>, Refusal> {
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(Refusal::new(
                400,
                "the target holds a character that must be percent-encoded (only visible ASCII is sent as it is)",
            ));
        }
        if target == "*" && method == "OPTIONS" {
            return Ok(Target { authority: None, path: target, query: "" });
        }
        let (authority, local) = if target.starts_with('/') {
            (None, target)
        } else if let Some(rest) = strip_scheme(target) {
            let (authority, local) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            if !is_host(authority) {
                return Err(Refusal::new(400, "the target names no proper host"));
            }
            (Some(authority), local)
        } else {
            return Err(Refusal::new(400, "the target is neither a path nor a whole http address"));
        };
        let (path, query) = local.split_once('?').unwrap_or((local, ""));
        // "http://host" and "http://host?x" mean the root.
        let path = if path.is_empty() { "/" } else { path };
        Ok(Target { authority, path, query })
    }
}

fn strip_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        if start.eq_ignore_ascii_case(scheme) { target.get(scheme.len()..) } else { None }
    })
}

/// Where the body ends (RFC 9112 clause 6.3), or why that cannot be said for certain.
fn body_length(
    length: Option<&str>,
    transfer_encoding: Option<&str>,
    http_1_0: bool,
    sizes: &Sizes,
) -> Result<usize, Refusal> {
    match (length, transfer_encoding) {
        (Some(_), Some(_)) => Err(Refusal::new(400, "both Content-Length and Transfer-Encoding")),
        (None, Some(_)) if http_1_0 => Err(Refusal::new(400, "HTTP/1.0 has no Transfer-Encoding")),
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => {
            Err(Refusal::new(411, "a chunked body is not taken; send it with Content-Length"))
        }
        (None, Some(_)) => {
            Err(Refusal::new(501, "this Transfer-Encoding is not understood; use Content-Length"))
        }
        (None, None) => Ok(0),
        (Some(digits), None) if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(Refusal::new(400, "Content-Length is not a number in decimal digits"))
        }
        // Digits that do not even fit into the machine's integers are too large as well.
        (Some(digits), None) => match digits.parse::<usize>() {
            Ok(length) if length <= sizes.body_bytes => Ok(length),
            _ => Err(Refusal::new(413, format!("the body is larger than {} bytes", sizes.body_bytes))),
        },
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 clause 7.2), and not empty.
pub(crate) fn is_host(host: &str) -> bool {
    let (name, port) = split_port(host);
    let good_port = port.is_none_or(|port| {
        port.is_empty() || (port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
    });
    let good_name = match name.strip_prefix('[') {
        Some(rest) => {
            rest.strip_suffix(']').is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
        }
        None => {
            !name.is_empty()
                && name.len() <= 255
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte))
        }
    };
    good_name && good_port
}

/// Host and port apart; brackets stay on an IPv6 address.
pub(crate) fn split_port(host: &str) -> (&str, Option<&str>) {
    let after_address = host.rfind(']').map_or(0, |bracket| bracket + 1);
    match host[after_address..].find(':') {
        Some(colon) => (&host[..after_address + colon], Some(&host[after_address + colon + 1..])),
        None => (host, None),
    }
}

fn explain(error: httparse::Error, head: &str) -> Refusal {
    let line = head.lines().next().unwrap_or_default();
    match error {
        httparse::Error::Version if line.rsplit(' ').next().is_some_and(|last| last.starts_with("HTTP/")) => {
            Refusal::new(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        }
        httparse::Error::HeaderName => {
            Refusal::new(400, "a header name is empty, holds a space or a bad character")
        }
        httparse::Error::HeaderValue => {
            Refusal::new(400, "a header value holds a character that is not allowed")
        }
        httparse::Error::TooManyHeaders => Refusal::new(431, "too many headers"),
        _ => Refusal::new(400, "the request line is not METHOD TARGET HTTP/1.1"),
    }
}

/// Where `piece` lies in `head`, whose part it is. A constant that is no part of it ("/") is looked up.
fn span(head: &str, piece: &str) -> Range<usize> {
    let offset = (piece.as_ptr() as usize).wrapping_sub(head.as_ptr() as usize);
    if offset <= head.len() && offset + piece.len() <= head.len() {
        return offset..offset + piece.len();
    }
    head.find(piece).map_or(0..0, |start| start..start + piece.len())
}
