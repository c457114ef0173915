//! A command line to commands (V.250 clause 5.3 and 5.4), and arguments to values.

/// One command of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Command {
    /// In capitals, with its sign: `+CMGS`, `&F`, `E`.
    pub name: String,
    /// What is asked of it.
    pub form: Form,
}

/// What is asked of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// `AT+CSQ`
    Execute,
    /// `AT+CPIN?`
    Read,
    /// `AT+CNMI=?`
    Test,
    /// `AT+CMGF=0`, or the number of a basic command.
    Set(String),
}

/// The commands of a line behind its `AT`; `None` when it cannot be read.
pub(super) fn commands(line: &str) -> Option<Vec<Command>> {
    let mut found = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let command;
        (command, rest) = match first {
            ';' | ' ' => {
                rest = &rest[1..];
                continue;
            }
            'D' | 'd' => (Command { name: "D".into(), form: Form::Set(rest[1..].into()) }, ""),
            '&' => basic(rest, 2)?,
            letter if letter.is_ascii_alphabetic() => basic(rest, 1)?,
            '+' | '^' | '*' | '%' | '$' | '#' | '_' => extended(rest),
            _ => return None,
        };
        found.push(command);
    }
    Some(found)
}

/// A letter, perhaps behind `&`, and a number.
fn basic(text: &str, letters: usize) -> Option<(Command, &str)> {
    let name = text.get(..letters)?.to_ascii_uppercase();
    let rest = &text[letters..];
    let end = rest
        .find(|next: char| !(next.is_ascii_digit() || name == "S" && "=?".contains(next)))
        .unwrap_or(rest.len());
    let form = if end == 0 { Form::Execute } else { Form::Set(rest[..end].to_string()) };
    Some((Command { name, form }, &rest[end..]))
}

/// A sign and a word, then `?`, `=?`, or `=` and arguments up to a semicolon that no quotes hold.
fn extended(text: &str) -> (Command, &str) {
    let end = text[1..]
        .find(|next: char| !(next.is_ascii_alphanumeric() || "!%-./:_".contains(next)))
        .map_or(text.len(), |end| end + 1);
    let name = text[..end].to_ascii_uppercase();
    let rest = &text[end..];
    let mut quoted = false;
    let stop = rest.find(|next: char| {
        quoted ^= next == '"';
        next == ';' && !quoted
    });
    let (arguments, rest) = rest.split_at(stop.unwrap_or(rest.len()));
    let form = match arguments.trim_end() {
        "" => Form::Execute,
        "?" => Form::Read,
        "=?" => Form::Test,
        arguments => Form::Set(arguments.strip_prefix('=').unwrap_or(arguments).to_string()),
    };
    (Command { name, form }, rest)
}

/// Arguments between commas, without their quotes; one that is left out is empty.
pub(super) fn arguments(text: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => found.push(String::new()),
            letter => {
                if let Some(last) = found.last_mut() {
                    last.push(letter);
                }
            }
        }
    }
    found.iter().map(|argument| argument.trim().to_string()).collect()
}

/// Numbers between commas; one that is left out is `None`, and anything else is no list of numbers.
pub(super) fn numbers(text: &str) -> Option<Vec<Option<usize>>> {
    let number = |argument: &String| match argument.as_str() {
        "" => Some(None),
        digits => digits.parse().ok().map(Some),
    };
    arguments(text).iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_several_commands() {
        let read = |line| {
            let commands = commands(line).unwrap_or_default();
            commands.iter().map(|command| format!("{} {:?}", command.name, command.form)).collect::<Vec<_>>()
        };
        assert_eq!(read("E0V1"), ["E Set(\"0\")", "V Set(\"1\")"]);
        assert_eq!(read("Z"), ["Z Execute"]);
        assert_eq!(read("&F;+cmee=1;+CREG?"), ["&F Execute", "+CMEE Set(\"1\")", "+CREG Read"]);
        assert_eq!(read("+CUSD=1,\"*1;#\",15"), ["+CUSD Set(\"1,\\\"*1;#\\\",15\")"]);
        assert_eq!(read("S0=0"), ["S Set(\"0=0\")"]);
        assert_eq!(read("D*100#;"), ["D Set(\"*100#;\")"]);
        assert_eq!(commands("1"), None);
    }

    #[test]
    fn arguments_with_holes() {
        assert_eq!(arguments("\"SM\",,3"), ["SM", "", "3"]);
        assert_eq!(numbers("1,,2"), Some(vec![Some(1), None, Some(2)]));
        assert_eq!(numbers("1,x"), None);
    }
}
