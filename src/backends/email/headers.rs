//! The header lines of a mail as they stand (RFC 5322, 2.2): names and unfolded values, nothing decoded. Pure and bounded; what is no header line
//! is passed over, as every mail program does.

/// So many header lines are looked at; a mail with more is nobody's letter.
pub const HEADERS_LIMIT: usize = 500;

/// The header lines of a mail, or of one block of a report.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Headers {
    lines: Vec<(String, String)>,
    /// There were more than [`HEADERS_LIMIT`].
    pub too_many: bool,
}

impl Headers {
    /// Reads up to the first empty line.
    pub fn parse(octets: &[u8]) -> Headers {
        let mut headers = Headers::default();
        for line in octets.split(|&octet| octet == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                break;
            }
            let text = String::from_utf8_lossy(line);
            if text.starts_with([' ', '\t']) {
                if let Some((_, value)) = headers.lines.last_mut() {
                    value.push(' ');
                    value.push_str(text.trim());
                }
                continue;
            }
            let Some((name, value)) = text.split_once(':') else { continue };
            if headers.lines.len() == HEADERS_LIMIT {
                headers.too_many = true;
                break;
            }
            headers.lines.push((name.trim().to_ascii_lowercase(), value.trim().to_string()));
        }
        headers
    }

    /// The first value of a header; `name` in small letters.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a header; `name` in small letters.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let name = name.to_string();
        self.lines.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The names, in small letters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|(name, _)| name.as_str())
    }

    /// Whether there is no header line at all.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// Where the head of a mail ends: the octets up to the first empty line, and no more than `limit`.
pub fn head_of(octets: &[u8], limit: usize) -> &[u8] {
    let mut start = 0;
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        if line == b"\n" || line == b"\r\n" {
            break;
        }
        if start + line.len() > limit {
            break;
        }
        start += line.len();
    }
    &octets[..start.min(octets.len())]
}

/// The names of mails in a value (`<one@host> <two@host>`), each with its angle brackets. What could not stand in a header of ours is left out.
pub fn message_ids(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    for piece in value.split('<').skip(1) {
        let Some((name, _)) = piece.split_once('>') else { continue };
        let fits = !name.is_empty() && name.len() <= 250;
        if fits && name.bytes().all(|octet| octet.is_ascii_graphic()) {
            found.push(format!("<{name}>"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_lines_are_joined_and_the_body_is_not_read() {
        let headers = Headers::parse(b"Subject: one\r\n two\r\nX-A:1\nno header\n\nX-B: 2\n");
        assert_eq!(headers.get("subject"), Some("one two"));
        assert_eq!(headers.get("x-a"), Some("1"));
        assert_eq!(headers.get("x-b"), None);
    }

    #[test]
    fn a_hundred_thousand_headers_are_too_many() {
        let bomb = "X-Bomb: 1\n".repeat(100_000);
        let headers = Headers::parse(bomb.as_bytes());
        assert!(headers.too_many);
        assert_eq!(headers.names().count(), HEADERS_LIMIT);
    }

    #[test]
    fn the_head_is_cut_at_a_line() {
        assert_eq!(head_of(b"A: 1\r\nB: 2\r\n\r\nbody", 100), b"A: 1\r\nB: 2\r\n");
        assert_eq!(head_of(b"A: 1\r\nB: 2\r\n\r\nbody", 8), b"A: 1\r\n");
        assert_eq!(head_of(b"A: 1", 100), b"A: 1");
    }

    #[test]
    fn only_names_that_can_stand_in_a_header_are_names() {
        assert_eq!(message_ids("<a@b> text <c@d>"), ["<a@b>", "<c@d>"]);
        assert_eq!(message_ids("<a b@c> <> <x\u{e9}@d> <open"), Vec::<String>::new());
        assert_eq!(message_ids(&format!("<{}@x>", "a".repeat(300))), Vec::<String>::new());
    }
}
