//! The fields of a query as octets: what Kannel sends is text in whatever charset, so it must not be read as UTF-8 beforehand.
//!
//! A percent sign that begins no escape stays what it is: nothing is lost by it, and gateways that do not encode texts send "100%".

/// The fields of one request, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    /// Those of a query, without its question mark. Names that are not UTF-8 are nobody's.
    pub fn of(query: &str) -> Fields {
        let pieces = query.split('&').filter(|piece| !piece.is_empty());
        let pairs = pieces.filter_map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Some((String::from_utf8(decode(name)).ok()?, decode(value)))
        });
        Fields(pairs.collect())
    }

    /// The value of a field. The same value twice is one; two values are an error, since nobody knows which is meant.
    pub fn one(&self, name: &str) -> Result<Option<&[u8]>, String> {
        let mut values = self.0.iter().filter(|(have, _)| have == name).map(|(_, value)| value.as_slice());
        let first = values.next();
        if values.any(|other| Some(other) != first) {
            return Err(format!("there are two values for {name}; nobody knows which is meant"));
        }
        Ok(first)
    }

    /// The same as text, without blanks around it; `None` when it is empty, too. What is not UTF-8 becomes U+FFFD.
    pub fn word(&self, name: &str) -> Result<Option<String>, String> {
        let value = self.one(name)?.map(|value| String::from_utf8_lossy(value).trim().to_string());
        Ok(value.filter(|value| !value.is_empty()))
    }
}

fn decode(piece: &str) -> Vec<u8> {
    let blanks = piece.replace('+', " ");
    percent_encoding::percent_decode_str(&blanks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_come_through() {
        let fields =
            Fields::of("id=%2B1555&text=a+b%20c%zz%4&raw=%00h%FF&&empty&same=1&same=1&two=1&two=2&%FF=x");
        assert_eq!(fields.one("id"), Ok(Some(&b"+1555"[..])));
        assert_eq!(fields.one("text"), Ok(Some(&b"a b c%zz%4"[..])));
        assert_eq!(fields.one("raw"), Ok(Some(&b"\0h\xff"[..])));
        assert_eq!(fields.one("empty"), Ok(Some(&b""[..])));
        assert_eq!(fields.word("empty"), Ok(None));
        assert_eq!(fields.one("same"), Ok(Some(&b"1"[..])));
        assert!(fields.one("two").is_err());
        assert_eq!(fields.one("absent"), Ok(None));
    }
}
