//! Telephone numbers: one spelling for each, which of them may be written to, and which senders can be answered.
//!
//! Pure rules about texts (ITU-T E.164, E.123; the types of number are those of 3GPP TS 23.040 clause 9.1.2.5). It never guesses a country, looks up
//! anything or changes what it does not understand: a short code, a name and nonsense come out as they went in.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

/// The digits of an international number, its country's code among them (E.164 clause 6.1; the shortest in use have seven).
const INTERNATIONAL_DIGITS: RangeInclusive<usize> = 7..=15;
/// Fewer digits are a short code.
const FEWEST_DIGITS: usize = 7;
/// Nothing longer is looked at; an address of a message has 20 digits at most.
const LONGEST: usize = 64;
/// The most digits of a country's code, and of the zeros or the trunk prefix behind it that some write.
const LONGEST_BEFORE_NATIONAL: usize = 4;

/// How numbers are written where a line is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Numbering {
    country_code: String,
    national_prefix: String,
    international_prefix: String,
    national_digits: Option<RangeInclusive<usize>>,
}

impl Default for Numbering {
    /// A place whose country nobody told: only `+` and `00` are understood.
    fn default() -> Numbering {
        Numbering {
            country_code: String::new(),
            national_prefix: String::new(),
            international_prefix: "00".to_string(),
            national_digits: None,
        }
    }
}

impl Numbering {
    /// A place by its country's code (`254`, with or without `+`), what is dialled before a national number (`0`; nothing in some countries), and
    /// before a country's code (`00`, `011`). The error is a sentence about what is wrong.
    pub fn new(
        country_code: &str,
        national_prefix: &str,
        international_prefix: &str,
    ) -> Result<Numbering, String> {
        let country_code = country_code.strip_prefix('+').unwrap_or(country_code);
        if !(1..=3).contains(&country_code.len())
            || !are_digits(country_code)
            || country_code.starts_with('0')
        {
            return Err(format!(
                "{country_code:?} is no code of a country: it has 1 to 3 digits and begins with none of 0, as 254"
            ));
        }
        for (prefix, what, example) in
            [(national_prefix, "national", "0"), (international_prefix, "international", "00")]
        {
            if prefix.len() > 5 || !are_digits(prefix) {
                return Err(format!("{prefix:?} is no {what} prefix: it has at most 5 digits, as {example}"));
            }
        }
        if !national_prefix.is_empty() && national_prefix == international_prefix {
            return Err(format!(
                "the national and the international prefix are both {national_prefix:?}: they must differ"
            ));
        }
        Ok(Numbering {
            country_code: country_code.to_string(),
            national_prefix: national_prefix.to_string(),
            international_prefix: international_prefix.to_string(),
            national_digits: None,
        })
    }

    /// The same where national numbers have so many digits without any prefix (`9..=9`). Then a number that is written without one is understood too.
    pub fn with_national_digits(mut self, digits: RangeInclusive<usize>) -> Result<Numbering, String> {
        let most = INTERNATIONAL_DIGITS.end() - self.country_code.len();
        if digits.is_empty() || *digits.start() < 4 || *digits.end() > most {
            return Err(format!(
                "national numbers of {} to {} digits: 4 to {most} are possible",
                digits.start(),
                digits.end()
            ));
        }
        self.national_digits = Some(digits);
        Ok(self)
    }

    /// The number as `+` and digits; unchanged when it is a short code, a name, a code with `*` or `#`, or nothing that is understood for certain.
    pub fn normalise<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.international(text) {
            Some(digits) => Cow::Owned(format!("+{digits}")),
            None => Cow::Borrowed(text),
        }
    }

    /// The number of an address whose type says "national" (clause 9.1.2.5: it comes without any prefix); unchanged without a country.
    pub fn normalise_national<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match compact(text, "").filter(|number| are_digits(number)) {
            // Some networks leave the prefix there all the same.
            Some(number) => match self.national(&number).or_else(|| self.with_country(&number)) {
                Some(digits) => Cow::Owned(format!("+{digits}")),
                None => Cow::Borrowed(text),
            },
            None => Cow::Borrowed(text),
        }
    }

    /// Whether both are one number: as a report names its recipient, perhaps in another form than the message did. Without a country to go by,
    /// a national number is the same as an international one that ends in it.
    pub fn same(&self, one: &str, other: &str) -> bool {
        let (one, other) = (self.normalise(one), self.normalise(other));
        if one == other {
            return true;
        }
        let (Some(first), Some(second)) = (compact(&one, ""), compact(&other, "")) else { return false };
        if first.starts_with('+') && second.starts_with('+') {
            return false;
        }
        let bare = |number: &str| number.trim_start_matches('+').trim_start_matches('0').to_string();
        let (first, second) = (bare(&first), bare(&second));
        let (short, long) = if first.len() <= second.len() { (first, second) } else { (second, first) };
        short.len() >= FEWEST_DIGITS
            && are_digits(&short)
            && are_digits(&long)
            && long.len() - short.len() <= LONGEST_BEFORE_NATIONAL
            && long.ends_with(&short)
    }

    /// The digits behind the `+`.
    fn international(&self, text: &str) -> Option<String> {
        let number = compact(text, &self.national_prefix)?;
        if let Some(digits) = number.strip_prefix('+') {
            return is_international(digits).then(|| digits.to_string());
        }
        if !are_digits(&number) {
            return None;
        }
        if let Some(digits) = after(&number, &self.international_prefix) {
            return is_international(digits).then(|| digits.to_string());
        }
        if let Some(digits) = self.national(&number) {
            return Some(digits);
        }
        let Some(expected) = &self.national_digits else {
            // National numbers begin with the prefix here, so this one begins with the country's code.
            let behind = after(&number, &self.country_code)?;
            let is_whole = !self.national_prefix.is_empty() && behind.len() >= FEWEST_DIGITS;
            return (is_whole && is_international(&number)).then_some(number);
        };
        if expected.contains(&number.len()) {
            return self.with_country(&number);
        }
        let behind = after(&number, &self.country_code)?;
        expected.contains(&behind.len()).then_some(number)
    }

    /// A number behind the national prefix.
    fn national(&self, number: &str) -> Option<String> {
        let behind = after(number, &self.national_prefix)?;
        let is_whole = match &self.national_digits {
            Some(expected) => expected.contains(&behind.len()),
            None => number.len() >= FEWEST_DIGITS,
        };
        if is_whole { self.with_country(behind) } else { None }
    }

    fn with_country(&self, national: &str) -> Option<String> {
        let whole = format!("{}{national}", self.country_code);
        (!self.country_code.is_empty() && national.len() >= 4 && is_international(&whole)).then_some(whole)
    }
}

/// Where messages may go: the longest prefix that fits decides.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Destinations {
    /// Each prefix, and whether it is allowed.
    rules: Vec<(String, bool)>,
    /// What no prefix fits is allowed.
    others: bool,
}

/// Why nothing is sent there: a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forbidden(pub String);

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Forbidden {}

impl Destinations {
    /// Prefixes are written as numbers are after [`Numbering::normalise`]: `+254`, or `1112` for a short code and all that begins with it. Without any
    /// allowed one everything is allowed that is not denied. The error is a sentence about what is wrong.
    pub fn new<A: AsRef<str>, D: AsRef<str>>(allowed: &[A], denied: &[D]) -> Result<Destinations, String> {
        let allowed = allowed.iter().map(|prefix| (prefix.as_ref(), true));
        let both = allowed.chain(denied.iter().map(|prefix| (prefix.as_ref(), false)));
        let mut rules: Vec<(String, bool)> = Vec::new();
        for (written, is_allowed) in both {
            let prefix = compact(written, "")
                .filter(|prefix| are_digits(prefix.trim_start_matches('+')) && prefix.len() <= 16);
            let Some(prefix) = prefix else {
                return Err(format!("{written:?} is no prefix of a number: write it as +254 or 1112"));
            };
            if rules.contains(&(prefix.clone(), !is_allowed)) {
                return Err(format!("{prefix} is both allowed and denied"));
            }
            rules.push((prefix, is_allowed));
        }
        let others = !rules.iter().any(|(_, is_allowed)| *is_allowed);
        Ok(Destinations { rules, others })
    }

    /// Whether a message may go there.
    pub fn check(&self, destination: &str, numbering: &Numbering) -> Result<(), Forbidden> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let number = numbering.normalise(destination);
        // `*31#` and the like before a number would lead around every rule.
        let number = compact(&number, "").filter(|number| are_digits(number.trim_start_matches('+')));
        let Some(number) = number else {
            let sentence = "the destination is no plain number, and only those can be compared with the allowed and denied prefixes";
            return Err(Forbidden(sentence.to_string()));
        };
        let fitting = self.rules.iter().filter(|(prefix, _)| number.starts_with(prefix.as_str()));
        match fitting.max_by_key(|(prefix, _)| prefix.len()) {
            Some((_, true)) => Ok(()),
            Some((prefix, false)) => {
                Err(Forbidden(format!("destinations that begin with {prefix} are denied")))
            }
            None if self.others => Ok(()),
            None => Err(Forbidden("no allowed prefix fits the destination".to_string())),
        }
    }
}

/// Who sent a message, as far as its address tells.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sender {
    /// A telephone.
    Number,
    /// A short code: mostly a machine, and an answer may cost.
    ShortCode,
    /// A name, which cannot be dialled.
    Name,
    /// No address at all.
    Nobody,
}

/// The kind of sender that an address is.
pub fn sender(originator: &str) -> Sender {
    let digits = originator.bytes().filter(u8::is_ascii_digit).count();
    match compact(originator, "") {
        None if originator.trim().is_empty() => Sender::Nobody,
        None => Sender::Name,
        Some(_) if digits == 0 => Sender::Nobody,
        Some(_) if digits < FEWEST_DIGITS => Sender::ShortCode,
        Some(_) => Sender::Number,
    }
}

/// Which senders besides telephones are answered; none by default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answering {
    /// Short codes too.
    pub short_codes: bool,
    /// Names too: for lines whose other side can dial them, which no GSM network does.
    pub names: bool,
}

impl Answering {
    /// Whether this sender is answered.
    pub fn answers(self, originator: &str) -> bool {
        match sender(originator) {
            Sender::Number => true,
            Sender::ShortCode => self.short_codes,
            Sender::Name => self.names,
            Sender::Nobody => false,
        }
    }
}

/// A number without what people put between its digits; `None` when there is something else in it. `+44 (0)20` is a habit: the national prefix
/// within parentheses is not dialled from abroad.
fn compact(text: &str, national_prefix: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > LONGEST {
        return None;
    }
    let written = if text.starts_with('+') && !national_prefix.is_empty() {
        text.replacen(&format!("({national_prefix})"), "", 1)
    } else {
        text.to_string()
    };
    let is_between = |character: char| matches!(character, ' ' | '\u{A0}' | '-' | '.' | '/' | '(' | ')');
    let number: String = written.chars().filter(|character| !is_between(*character)).collect();
    let dialled = number.strip_prefix('+').unwrap_or(&number);
    let is_number = !dialled.is_empty()
        && dialled.bytes().all(|digit| digit.is_ascii_digit() || matches!(digit, b'*' | b'#'));
    is_number.then_some(number)
}

/// What stands behind a prefix; `None` behind an empty one, which would fit everything.
fn after<'n>(number: &'n str, prefix: &str) -> Option<&'n str> {
    if prefix.is_empty() { None } else { number.strip_prefix(prefix) }
}

fn is_international(digits: &str) -> bool {
    are_digits(digits) && INTERNATIONAL_DIGITS.contains(&digits.len()) && !digits.starts_with('0')
}

fn are_digits(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_digit())
}
