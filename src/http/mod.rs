//! Plain data of HTTP/1.1: one whole [`Request`] in, one [`Response`] out (RFC 9110).
//!
//! [`reader`] turns bytes into requests and refuses what is malformed, [`form`] reads forms, [`secret`] compares secrets,
//! [`charset`] decodes texts; [`client`] makes calls. Nothing but the client opens, reads or waits. A `Request` exists only once all of it has arrived and has passed the
//! checks of [`reader`]; a `Response` becomes bytes in the door, which alone writes the headers that frame
//! a message (`Content-Length`, `Connection`, `Date`), so no answer can disagree with its own body.

pub mod charset;
pub mod client;
pub mod form;
pub mod reader;
pub mod secret;

use std::borrow::Cow;
use std::io::Write as _;
use std::net::SocketAddr;
use std::ops::Range;

use serde::Serialize;

/// One whole request: head and body have arrived and kept to the limits.
///
/// The head is kept as one piece of text and everything else points into it, so a request costs three allocations
/// however many headers it has.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) head: String,
    pub(crate) method: Range<usize>,
    pub(crate) path: Range<usize>,
    pub(crate) query: Range<usize>,
    pub(crate) host: Option<Range<usize>>,
    pub(crate) headers: Vec<(Range<usize>, Range<usize>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) form: AnswerForm,
}

/// What the request's own head decides about the shape of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerForm {
    /// The connection may carry another request afterwards.
    pub(crate) keep_alive: bool,
    /// The client speaks HTTP/1.0: no chunked framing, and keep-alive has to be said.
    pub(crate) http_1_0: bool,
    /// The method is HEAD: headers as for GET, no body.
    pub(crate) head_only: bool,
}

impl AnswerForm {
    /// The form of an answer to something that could not be understood as a request.
    pub(crate) const CLOSING: AnswerForm =
        AnswerForm { keep_alive: false, http_1_0: false, head_only: false };
}

impl Request {
    /// The one whole request that these bytes are, under the listener's usual limits: for tests and rehearsals.
    pub fn parse(bytes: &[u8], peer: Option<SocketAddr>) -> Result<Request, String> {
        let mut reader = reader::RequestReader::new(reader::Sizes::default(), peer);
        reader.push(bytes);
        match reader.advance().map_err(|refusal| refusal.sentence.into_owned())? {
            reader::Progress::Request(request) if reader.is_empty() => Ok(request),
            reader::Progress::Request(_) => Err("something follows the request".into()),
            reader::Progress::NeedsBytes | reader::Progress::NeedsContinue => {
                Err("the request is not whole".into())
            }
        }
    }

    /// The method as it was sent; methods are case-sensitive (RFC 9110 clause 9.1).
    pub fn method(&self) -> &str {
        self.piece(&self.method)
    }

    /// The path, still percent-encoded, without the query. Always begins with `/`, except for `OPTIONS *`.
    pub fn path(&self) -> &str {
        self.piece(&self.path)
    }

    /// The path cut at its slashes and percent-decoded: `/a/b%20c/` gives `["a", "b c", ""]`.
    ///
    /// `None` when a piece is not UTF-8 once decoded. An encoded slash (`%2F`) stays inside its piece.
    pub fn segments(&self) -> Option<Vec<String>> {
        let path = self.path();
        path.strip_prefix('/')
            .unwrap_or(path)
            .split('/')
            .map(|piece| percent_encoding::percent_decode_str(piece).decode_utf8().ok().map(Cow::into_owned))
            .collect()
    }

    /// What follows the `?`, still percent-encoded; empty when there is none.
    pub fn query(&self) -> &str {
        self.piece(&self.query)
    }

    /// The query as decoded pairs, in order, repeated names kept. Bytes that are not UTF-8 become U+FFFD.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query().as_bytes())
    }

    /// The body read as `application/x-www-form-urlencoded`, whatever the content type says: gateways often send
    /// a wrong one, and a body of another kind just has no field of the wanted name.
    pub fn form(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(&self.body)
    }

    /// The first header of that name (any case), without the white space around its value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers in the order in which they were sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (self.piece(name), self.piece(value)))
    }

    /// The host and port that the client meant: from an absolute target, else from the Host header.
    pub fn host(&self) -> Option<&str> {
        self.host.as_ref().map(|host| self.piece(host))
    }

    /// The media type in lower case and without its parameters, or an empty text.
    pub fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The body; empty when there was none.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Takes the body out without copying it.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// The address at the other end of the connection (a proxy's address when one stands between); `None` on a Unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether it came by a Unix socket, which only this machine's own user can open.
    pub fn is_local(&self) -> bool {
        self.peer.is_none()
    }

    fn piece(&self, range: &Range<usize>) -> &str {
        self.head.get(range.clone()).unwrap_or_default()
    }
}

/// One answer. Built by the constructors, refined by [`Response::header`].
///
/// Every response leaves with `X-Content-Type-Options: nosniff`. A header that would break the framing (CR, LF, NUL
/// or another control character, a name that is no token, a name that is the door's own business) does not go
/// out: the whole answer is replaced by a 500 and the reason is logged.
#[derive(Clone, Debug)]
pub struct Response {
    status: u16,
    content_type: Cow<'static, str>,
    headers: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    body: Cow<'static, [u8]>,
    fault: Option<String>,
}

/// What a page may load: its own files only, no inline script, in nobody's frame.
const PAGE_POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Headers that only the door writes, because they say where the answer ends.
const DOORS_OWN: [&str; 7] =
    ["connection", "content-length", "date", "keep-alive", "transfer-encoding", "trailer", "upgrade"];

/// Bodies up to this size are copied behind the head so that one plain write carries both.
const INLINE_BODY: usize = 4096;

impl Response {
    /// An answer without a body.
    pub fn empty(status: u16) -> Response {
        Response::bytes(status, "", Vec::new())
    }

    /// Any bytes with their media type.
    pub fn bytes(
        status: u16,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Response {
        let mut response = Response {
            status,
            content_type: Cow::Borrowed(""),
            headers: Vec::new(),
            body: body.into(),
            fault: None,
        };
        if !(200..=599).contains(&status) {
            response.fault = Some(format!("{status} is not a final status (200 to 599)"));
        }
        response.content_type(content_type)
    }

    /// Plain text in UTF-8.
    pub fn text(status: u16, text: impl Into<Cow<'static, str>>) -> Response {
        Response::bytes(status, "text/plain; charset=utf-8", bytes_of(text.into()))
    }

    /// A page, status 200, with a policy that allows only this site's own files and forbids frames.
    pub fn html(page: impl Into<Cow<'static, str>>) -> Response {
        Response::bytes(200, "text/html; charset=utf-8", bytes_of(page.into()))
            .header("Content-Security-Policy", PAGE_POLICY)
            .header("Referrer-Policy", "same-origin")
    }

    /// A value as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Response {
        match serde_json::to_vec(value) {
            Ok(body) => Response::bytes(status, "application/json", body),
            Err(error) => {
                log::error!("an answer could not be written as JSON: {error}");
                Response::error(500, "the answer could not be written as JSON; the log says why")
            }
        }
    }

    /// A refusal or failure: `{"error": "sentence"}`.
    pub fn error(status: u16, sentence: &str) -> Response {
        let body = serde_json::json!({ "error": sentence }).to_string();
        Response::bytes(status, "application/json", body.into_bytes())
    }

    /// "See this instead", by GET (303). The location must already be percent-encoded.
    pub fn redirect(location: impl Into<Cow<'static, str>>) -> Response {
        Response::empty(303).header("Location", location)
    }

    /// Sets another status, e.g. a page with 404.
    pub fn with_status(mut self, status: u16) -> Response {
        if !(200..=599).contains(&status) {
            self.fault = Some(format!("{status} is not a final status (200 to 599)"));
        }
        self.status = status;
        self
    }

    /// Sets the media type.
    pub fn content_type(mut self, value: impl Into<Cow<'static, str>>) -> Response {
        let value = value.into();
        if !is_header_value(&value) {
            self.fault = Some("Content-Type holds a control character".into());
        }
        self.content_type = value;
        self
    }

    /// Sets a header; one of the same name is replaced, except `Set-Cookie`, which may be repeated.
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Response {
        let (name, value) = (name.into(), value.into());
        if name.eq_ignore_ascii_case("content-type") {
            return self.content_type(value);
        }
        if !is_token(&name) {
            self.fault = Some(format!("{name:?} is not a header name"));
        } else if DOORS_OWN.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            self.fault = Some(format!("the header {name} is written by the door alone"));
        } else if !is_header_value(&value) {
            self.fault = Some(format!("the value of the header {name} holds a control character"));
        }
        if !name.eq_ignore_ascii_case("set-cookie") {
            self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(&name));
        }
        self.headers.push((name, value));
        self
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The body as it will be sent.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The value of a header set on this answer (any case).
    pub fn get(&self, name: &str) -> Option<&str> {
        if name.eq_ignore_ascii_case("content-type") {
            return (!self.content_type.is_empty()).then_some(&*self.content_type);
        }
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// Why this answer will be replaced by a 500, if it will be.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Appends the head (and a small body) to `out`; hands back a body too large to be worth copying.
    pub(crate) fn write(self, form: AnswerForm, date: &str, out: &mut Vec<u8>) -> Cow<'static, [u8]> {
        if let Some(fault) = &self.fault {
            log::error!("an answer was replaced by 500: {fault}");
            return Response::error(500, "the answer could not be sent; the log says why")
                .write(form, date, out);
        }
        self.write_status_and_headers(form, date, out);
        let bodiless = matches!(self.status, 204 | 304);
        if !bodiless {
            // HEAD announces the length that GET would have (RFC 9110 clause 9.3.2).
            put(out, format_args!("Content-Length: {}\r\n", self.body.len()));
        }
        out.extend_from_slice(b"\r\n");
        if bodiless || form.head_only {
            return Cow::Borrowed(b"");
        }
        if self.body.len() > INLINE_BODY {
            return self.body;
        }
        out.extend_from_slice(&self.body);
        Cow::Borrowed(b"")
    }

    /// Appends the head of an answer whose body has no known end: an event stream.
    pub(crate) fn write_stream_head(&self, form: AnswerForm, date: &str, out: &mut Vec<u8>) {
        self.write_status_and_headers(form, date, out);
        if !form.http_1_0 {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    fn write_status_and_headers(&self, form: AnswerForm, date: &str, out: &mut Vec<u8>) {
        put(out, format_args!("HTTP/1.1 {} {}\r\nDate: {date}\r\n", self.status, reason(self.status)));
        if !self.content_type.is_empty() {
            put(out, format_args!("Content-Type: {}\r\n", self.content_type));
        }
        out.extend_from_slice(b"X-Content-Type-Options: nosniff\r\n");
        for (name, value) in &self.headers {
            put(out, format_args!("{name}: {value}\r\n"));
        }
        match form {
            AnswerForm { keep_alive: false, .. } => out.extend_from_slice(b"Connection: close\r\n"),
            AnswerForm { http_1_0: true, .. } => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            _ => {}
        }
    }
}

/// Whether the text is a token (RFC 9110 clause 5.6.2): what methods and header names are made of.
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn is_header_value(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

fn bytes_of(text: Cow<'static, str>) -> Cow<'static, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into a Vec cannot fail.
    let _ = out.write_fmt(text);
}

/// The customary words behind a status; clients ignore them, people reading a trace do not.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}
