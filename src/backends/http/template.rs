//! Texts with places for values: `%(identity)s` as in the older systems, `{to}` as today, `{text|base64}` with a filter. Pure.
//!
//! What a value becomes depends on where it stands, so no text of a person can end a query, a header, a string or a tag: it is
//! percent-encoded in addresses and forms, escaped in JSON and XML, freed of line ends in headers. A template is read once, when the
//! backend starts; a name that nobody knows is a fault then, and not at three in the morning.

use std::borrow::Cow;

use base64::Engine as _;

use crate::http::form;

/// Where the text stands, which decides how values are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// An address, or a body of `application/x-www-form-urlencoded`: RFC 3986, clause 2.
    Url,
    /// The value of a header (RFC 9110, clause 5.5).
    Header,
    /// JSON (RFC 8259, clause 7): within quotes the content of a string, elsewhere a whole value.
    Json,
    /// XML 1.0, clause 2.4: text or an attribute.
    Xml,
    /// Plain text, as it is.
    Text,
}

/// A text that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template {
    place: Place,
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Literal(String),
    Value { name: String, filter: Filter, quoted: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Filter {
    None,
    Base64,
    Hex,
}

/// One value and what it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value<'v> {
    /// The value.
    pub text: Cow<'v, str>,
    /// In JSON it stands without quotes.
    pub is_number: bool,
}

impl<'v> Value<'v> {
    /// A text.
    pub fn text(text: impl Into<Cow<'v, str>>) -> Value<'v> {
        Value { text: text.into(), is_number: false }
    }

    /// A number.
    pub fn number(number: impl ToString) -> Value<'v> {
        Value { text: Cow::Owned(number.to_string()), is_number: true }
    }
}

/// Who knows the values.
pub trait Values {
    /// The value of that name, if there is one.
    fn value(&self, name: &str) -> Option<Value<'_>>;
}

impl Template {
    /// Reads a text. `knows` tells whether a name can have a value; of the older systems' names ([`meaning`]) it is asked what they mean.
    ///
    /// `{` and `%` that begin no name are themselves. Where `%(name)s` occurs, `%%` is a percent sign, as it was.
    pub fn read(text: &str, place: Place, knows: &dyn Fn(&str) -> bool) -> Result<Template, String> {
        let old = text.contains("%(");
        let mut template = Template { place, pieces: Vec::new() };
        let mut literal = String::new();
        let mut quoted = Quotes::default();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if old && rest.starts_with("%%") {
                literal.push('%');
                rest = &rest[2..];
                continue;
            }
            let Some((name, filter, after)) = name_at(rest) else {
                quoted.see(first);
                literal.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            };
            let meant = meaning(name);
            if !knows(meant) {
                return Err(format!("there is nothing called {name:?} to put in"));
            }
            let filter = match filter {
                "" => Filter::None,
                "base64" => Filter::Base64,
                "hex" => Filter::Hex,
                other => return Err(format!("there is no filter {other:?}: write base64 or hex")),
            };
            if !literal.is_empty() {
                template.pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            template.pieces.push(Piece::Value { name: meant.to_string(), filter, quoted: quoted.inside });
            rest = after;
        }
        if !literal.is_empty() {
            template.pieces.push(Piece::Literal(literal));
        }
        Ok(template)
    }

    /// A text in which nothing is put in.
    pub fn literal(text: impl Into<String>, place: Place) -> Template {
        Template { place, pieces: vec![Piece::Literal(text.into())] }
    }

    /// Another one behind this.
    pub fn then(mut self, other: Template) -> Template {
        self.pieces.extend(other.pieces);
        self
    }

    /// Whether it names that value.
    pub fn names(&self, wanted: &str) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Value { name, .. } if name == wanted))
    }

    /// Whether any value is put in at all.
    pub fn has_values(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Value { .. }))
    }

    /// What stands before the first value.
    pub fn beginning(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Literal(text)) => text,
            _ => "",
        }
    }

    /// Whether a value that it names is missing: then an entry of a table is left out.
    pub fn lacks(&self, values: &dyn Values) -> bool {
        let missing =
            |piece: &Piece| matches!(piece, Piece::Value { name, .. } if values.value(name).is_none());
        self.pieces.iter().any(missing)
    }

    /// The one value that it is, if it is nothing else.
    pub fn sole_value<'v>(&self, values: &'v dyn Values) -> Option<Value<'v>> {
        match self.pieces.as_slice() {
            [Piece::Value { name, filter: Filter::None, .. }] => values.value(name),
            _ => None,
        }
    }

    /// The text with its values, encoded for its place. What is missing is empty.
    pub fn fill(&self, values: &dyn Values) -> String {
        self.fill_for(self.place, values)
    }

    /// The same without any encoding, for those who encode the whole.
    pub fn fill_plain(&self, values: &dyn Values) -> String {
        self.fill_for(Place::Text, values)
    }

    fn fill_for(&self, place: Place, values: &dyn Values) -> String {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => filled.push_str(text),
                Piece::Value { name, filter, quoted } => {
                    let value = values.value(name).unwrap_or(Value::text(""));
                    filled.push_str(&encode(place, *quoted, &filter.apply(value)));
                }
            }
        }
        filled
    }
}

/// The name of today for one of the older systems.
pub fn meaning(name: &str) -> &str {
    match name {
        "identity" | "phone_number" | "recipient" => "to",
        "message" => "text",
        other => other,
    }
}

impl Filter {
    fn apply<'v>(self, value: Value<'v>) -> Value<'v> {
        match self {
            Filter::None => value,
            Filter::Base64 => {
                Value::text(base64::engine::general_purpose::STANDARD.encode(value.text.as_bytes()))
            }
            Filter::Hex => Value::text(hex(value.text.as_bytes())),
        }
    }
}

/// Octets as hexadecimal digits.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A name at the beginning of a text, its filter, and what follows.
fn name_at(text: &str) -> Option<(&str, &str, &str)> {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
    };
    if let Some(rest) = text.strip_prefix("%(") {
        let (name, rest) = rest.split_once(')')?;
        let after = rest.strip_prefix(['s', 'd'])?;
        return is_name(name).then_some((name, "", after));
    }
    let (inside, after) = text.strip_prefix('{')?.split_once('}')?;
    let (name, filter) = inside.split_once('|').unwrap_or((inside, ""));
    (is_name(name)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && (filter.is_empty() || is_name(filter)))
    .then_some((name, filter, after))
}

/// Whether one stands within a string of JSON.
#[derive(Default)]
struct Quotes {
    inside: bool,
    escaped: bool,
}

impl Quotes {
    fn see(&mut self, letter: char) {
        match letter {
            _ if self.escaped => self.escaped = false,
            '\\' if self.inside => self.escaped = true,
            '"' => self.inside = !self.inside,
            _ => {}
        }
    }
}

fn encode(place: Place, quoted: bool, value: &Value<'_>) -> String {
    let text = &*value.text;
    match place {
        Place::Text => text.to_string(),
        Place::Url => form::encode(text),
        Place::Header => text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect(),
        Place::Json if value.is_number && !quoted => text.to_string(),
        Place::Json => {
            let whole = serde_json::Value::from(text).to_string();
            let inner = whole.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
            if quoted { inner.to_string() } else { whole }
        }
        Place::Xml => {
            let mut escaped = String::with_capacity(text.len());
            for letter in text.chars() {
                match letter {
                    '&' => escaped.push_str("&amp;"),
                    '<' => escaped.push_str("&lt;"),
                    '>' => escaped.push_str("&gt;"),
                    '"' => escaped.push_str("&quot;"),
                    '\'' => escaped.push_str("&apos;"),
                    // An attribute would turn a line end into a blank (XML 1.0, clause 3.3.3).
                    '\n' | '\r' | '\t' => escaped.push_str(&format!("&#{};", u32::from(letter))),
                    _ if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                        escaped.push('\u{fffd}')
                    }
                    _ => escaped.push(letter),
                }
            }
            escaped
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One(&'static str);

    impl Values for One {
        fn value(&self, name: &str) -> Option<Value<'_>> {
            match name {
                "text" => Some(Value::text(self.0)),
                "parts" => Some(Value::number(3)),
                _ => None,
            }
        }
    }

    fn knows(name: &str) -> bool {
        ["text", "to", "parts", "from"].contains(&name)
    }

    #[test]
    fn a_value_cannot_leave_its_place() {
        let cases = [
            (Place::Url, "?t=%(message)s&x=1", "a&b=c%#+é ü", "?t=a%26b%3Dc%25%23%2B%C3%A9%20%C3%BC&x=1"),
            (Place::Url, "?t=%(text)s&r=100%%", "100%", "?t=100%25&r=100%"),
            (Place::Url, "?t={text}&r=%20%%", "{to}", "?t=%7Bto%7D&r=%20%%"),
            (Place::Header, "x {text}", "a\r\nEvil: 1\u{0}", "x a  Evil: 1 "),
            (Place::Json, r#"{"t":{text},"n":{parts}}"#, "a\"b\\\n", r#"{"t":"a\"b\\\n","n":3}"#),
            (Place::Json, r#"{"t":"<{text}>","n":"{parts}"}"#, "a\"b", r#"{"t":"<a\"b>","n":"3"}"#),
            (Place::Json, r#"{"t":"\"{text}\""}"#, "a\"b", r#"{"t":"\"a\"b\""}"#),
            (
                Place::Xml,
                "<t a='{text}'/>",
                "<&>'\"\n\u{1}",
                "<t a='&lt;&amp;&gt;&apos;&quot;&#10;\u{fffd}'/>",
            ),
            (Place::Text, "{text}|{text|base64}|{text|hex}", "hi\n", "hi\n|aGkK|68690a"),
            (Place::Text, "{ text} {te-xt} %(te%s %d {1}", "x", "{ text} {te-xt} %(te%s %d {1}"),
            (Place::Text, "{from}.", "x", "."),
        ];
        for (place, template, text, expected) in cases {
            let read = Template::read(template, place, &knows).expect(template);
            assert_eq!(read.fill(&One(text)), expected, "{template}");
        }
    }

    #[test]
    fn what_nobody_knows_is_a_fault() {
        for wrong in ["{txet}", "%(id)s", "{text|rot13}"] {
            assert!(Template::read(wrong, Place::Url, &knows).is_err(), "{wrong}");
        }
        let from = Template::read("x{from}", Place::Url, &knows).expect("a template");
        assert!(from.lacks(&One("")) && from.names("from") && !from.names("text"));
    }
}
