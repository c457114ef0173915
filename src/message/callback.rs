//! What a program wants to hear of its message, and where: a [`Callback`]. The template of its URL holds escapes of a percent sign and a letter, as the delivery
//! reports of Kannel have them (Kannel user guide, "Delivery reports" and the table of parameters for URLs).
//!
//! Everything here is text to text. When which call is due is the router's business, and who makes it the shell's.

use std::borrow::Cow;
use std::fmt;

/// The longest template.
pub const CALLBACK_LIMIT: usize = 4_096;
/// The longest URL that comes of one. Values that do not fit are left out.
pub const CALL_LIMIT: usize = 8_192;
/// So much is told of what a carrier said, in characters.
const WORDS_LIMIT: usize = 300;

/// Whom to call when something happens to a message.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Callback {
    /// The template of the URL. It may hold a password, so it is never printed.
    pub url: String,
    /// What to tell: a sum of [`News`].
    pub mask: u8,
}

impl Callback {
    /// Calls `url` for the news in `mask`.
    pub fn new(url: impl Into<String>, mask: u8) -> Callback {
        Callback { url: url.into(), mask }
    }

    /// Fills one escape in that is known already and that the router cannot know: `n` the user, `o` the account, `P` the short code (and `Q` the same), `D` the meta-data.
    /// Whatever the value holds is safe from being taken for an escape later.
    pub fn knowing(self, escape: char, value: &str) -> Callback {
        let kept = encoded(value).replace('%', "%%");
        let url = filled(&self.url, |letter| match letter {
            '%' => Some("%%".into()),
            _ if letter == escape => Some(kept.as_str().into()),
            _ => None,
        });
        Callback { url, ..self }
    }

    /// Whether this is to be told.
    pub fn wants(&self, news: News) -> bool {
        self.mask & news as u8 != 0
    }

    /// What is wrong with it, as a sentence.
    pub fn fault(&self) -> Option<String> {
        if self.url.len() > CALLBACK_LIMIT {
            return Some(format!(
                "the URL of the callback has {} octets; at most {CALLBACK_LIMIT} are possible",
                self.url.len()
            ));
        }
        if self.url.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
            return Some("the URL of the callback holds a blank or a control character; write %20".into());
        }
        if host_of(&self.url).is_none() {
            return Some("the URL of the callback names no host".into());
        }
        None
    }

    /// The URL to call, every value percent-encoded; escapes that nobody knows stay as they are. What the template holds beyond ASCII is encoded as well, as no
    /// request could hold it.
    pub fn fill(&self, facts: &Facts<'_>) -> String {
        let url = filled(&self.url, |letter| {
            Some(match letter {
                '%' => "%".into(),
                'd' => facts.news.to_string().into(),
                'A' => {
                    let words: String = facts.words.chars().take(WORDS_LIMIT).collect();
                    encoded(&words).into()
                }
                'F' => encoded(facts.remote_id).into(),
                'I' => encoded(facts.id).into(),
                'i' => encoded(facts.backend).into(),
                'p' => encoded(facts.identity).into(),
                'q' => match facts.identity.strip_prefix("00") {
                    Some(rest) => encoded(&format!("+{rest}")).into(),
                    None => encoded(facts.identity).into(),
                },
                'R' => encoded(&self.url).into(),
                'T' => facts.seconds.to_string().into(),
                't' => calendar(facts.seconds).into(),
                // Known to whoever took the message only, and told by `knowing`.
                'n' | 'o' | 'P' | 'Q' | 'D' => "".into(),
                _ => return None,
            })
        });
        percent_encoding::utf8_percent_encode(&url, percent_encoding::CONTROLS).to_string()
    }
}

/// A URL may hold a password: only its host is shown.
impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = host_of(&self.url).unwrap_or_default();
        f.debug_struct("Callback").field("host", &host).field("mask", &self.mask).finish()
    }
}

/// What can be told about a message, by the numbers of Kannel's `dlr-mask`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum News {
    /// It arrived.
    Delivered = 1,
    /// It was taken and will not arrive.
    Failed = 2,
    /// It waits for another try, here or at the carrier.
    Buffered = 4,
    /// The carrier took it.
    Taken = 8,
    /// It was never taken by a carrier and will not be.
    Refused = 16,
}

impl News {
    /// What the carrier is said to have said: `ACK/`, `NACK/` and the reason, or the reason alone.
    pub fn words(self, reason: Option<&str>) -> Cow<'_, str> {
        let reason = reason.unwrap_or_default();
        match self {
            News::Taken => "ACK/".into(),
            News::Refused => format!("NACK/{reason}").into(),
            News::Delivered | News::Failed | News::Buffered => reason.into(),
        }
    }
}

/// What one call is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts<'a> {
    /// The number of the news.
    pub news: u8,
    /// What the carrier said.
    pub words: &'a str,
    /// The carrier's name for the message.
    pub remote_id: &'a str,
    /// The name of this call, the same when it is repeated.
    pub id: &'a str,
    /// The backend that sent it, or is to.
    pub backend: &'a str,
    /// To whom the message goes.
    pub identity: &'a str,
    /// When, in seconds since 1970.
    pub seconds: i64,
}

/// The host of a URL with its port, in lower case; what calls to one peer have in common.
pub fn host_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// Puts values in place of escapes. A percent sign at the end, and one before something that `value` does not know, stay.
fn filled<'v>(template: &str, value: impl Fn(char) -> Option<Cow<'v, str>>) -> String {
    let mut url = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        url.push_str(before);
        let letter = from[1..].chars().next();
        match letter.and_then(|letter| Some((letter, value(letter)?))) {
            Some((letter, value)) => {
                if url.len() + value.len() + from.len() <= CALL_LIMIT {
                    url.push_str(&value);
                }
                rest = &from[1 + letter.len_utf8()..];
            }
            None => {
                url.push('%');
                rest = &from[1..];
            }
        }
    }
    url.push_str(rest);
    url
}

/// Everything but RFC 3986's unreserved characters (clause 2.3) as octets in hexadecimal.
fn encoded(value: &str) -> String {
    const UNRESERVED: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(value, UNRESERVED).to_string()
}

/// `2026-11-22+08:55:35` in UTC: the colons bare, a plus for the blank, as Kannel writes it.
fn calendar(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(at) => at.strftime("%Y-%m-%d+%H:%M:%S").to_string(),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts<'_> = Facts {
        news: 16,
        words: "NACK/no \u{43d}\u{435}",
        remote_id: "17&x",
        id: "0199-7",
        backend: "Zain 1",
        identity: "+25761000001",
        seconds: 1_795_337_735,
    };

    /// The escapes of the user guide's table that delivery reports have; in them `%p` is the phone and `%P` the short code.
    #[test]
    fn escapes_are_filled() {
        for (template, expected) in [
            ("http://a/?s=%d", "http://a/?s=16"),
            ("http://a/?a=%A", "http://a/?a=NACK%2Fno%20%D0%BD%D0%B5"),
            ("http://a/?f=%F&i=%I", "http://a/?f=17%26x&i=0199-7"),
            ("http://a/?i=%i", "http://a/?i=Zain%201"),
            ("http://a/?p=%p&q=%q", "http://a/?p=%2B25761000001&q=%2B25761000001"),
            ("http://a/?P=%P&n=%n&o=%o&D=%D&Q=%Q", "http://a/?P=&n=&o=&D=&Q="),
            ("http://a/?T=%T&t=%t", "http://a/?T=1795337735&t=2026-11-22+08:55:35"),
            ("http://a/?%R", "http://a/?http%3A%2F%2Fa%2F%3F%25R"),
            ("http://a/%%d/100%", "http://a/%d/100%"),
            ("http://a/?x=%20%zz&%ü", "http://a/?x=%20%zz&%%C3%BC"),
            ("http://a/none", "http://a/none"),
        ] {
            assert_eq!(Callback::new(template, 31).fill(&FACTS), expected, "{template}");
        }
        let old = Facts { identity: "00257", ..FACTS };
        assert_eq!(Callback::new("http://a/%q", 1).fill(&old), "http://a/%2B257");
    }

    #[test]
    fn what_is_known_before_is_no_escape_later() {
        let callback =
            Callback::new("http://a/?n=%n&P=%P&d=%d&%%n", 1).knowing('n', "\u{41f}%d").knowing('P', "8080");
        assert_eq!(callback.fill(&FACTS), "http://a/?n=%D0%9F%25d&P=8080&d=16&%n");
    }

    #[test]
    fn a_url_never_grows_beyond_its_bound() {
        let url = format!("http://a/?{}", "%R".repeat(2_000));
        let filled = Callback::new(url, 1).fill(&FACTS);
        assert!(filled.len() <= CALL_LIMIT, "{}", filled.len());
        let words = "\u{43d}".repeat(100_000);
        let filled = Callback::new("http://a/?%A", 1).fill(&Facts { words: &words, ..FACTS });
        assert_eq!(filled.len(), "http://a/?".len() + 6 * WORDS_LIMIT);
    }

    #[test]
    fn hosts_are_found_and_faults_told() {
        for (url, host) in [
            ("http://Example.org:8080/x", Some("example.org:8080")),
            ("https://user:secret@a?x", Some("a")),
            ("http://[::1]:80", Some("[::1]:80")),
            ("http:///x", None),
            ("/x", None),
        ] {
            assert_eq!(host_of(url).as_deref(), host, "{url}");
            assert_eq!(Callback::new(url, 1).fault().is_none(), host.is_some(), "{url}");
        }
        assert!(Callback::new("http://a/ b", 1).fault().is_some());
        assert!(Callback::new(format!("http://a/{}", "x".repeat(CALLBACK_LIMIT)), 1).fault().is_some());
        let shown = format!("{:?}", Callback::new("http://user:secret@a/?password=secret", 1));
        assert!(!shown.contains("secret") && shown.contains("\"a\""), "{shown}");
    }
}
