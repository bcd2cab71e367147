//! An error and its causes as one line of text.

use std::{error::Error, fmt::Write};

use super::{
    messages::{Message, floor_char_boundary},
    walk::Chain,
};
use crate::text::redact;

/// How long the text may be, in bytes.
const MAX_TEXT: usize = 512;

/// How much of a single message is looked at, in bytes: more than fits, so that a URL at the end
/// of the text is seen whole.
const MAX_MESSAGE: usize = 2048;

/// What stands where the text was cut.
const CUT: &str = "…";

/// Writes an error and its causes into one line, outermost first, separated by `: `.
///
/// The causes are those that [`classify`](super::classify()) sees. A message that the one above
/// it ends with already is left out, control characters and line separators become spaces, marks
/// that change the direction of text are left out, and the text is cut after 512 bytes. What looks like the userinfo, query or fragment of a URL is removed: clients put the
/// URL into their messages, and secrets live there.
///
/// ```
/// use std::io;
/// use tower_http_retry::classify::chain;
///
/// let inner = io::Error::new(io::ErrorKind::InvalidData, "https://joe:pw@example.com/?key=1 fails");
/// assert_eq!(chain(&io::Error::other(inner)), "https://example.com/ fails");
/// ```
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    for link in Chain::new(error) {
        let message = line(link);
        if message.is_empty() || ends_with_part(&text, &message) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&message);
        if text.len() > MAX_TEXT {
            text.truncate(floor_char_boundary(&text, MAX_TEXT - CUT.len()));
            text.push_str(CUT);
            break;
        }
    }
    text
}

/// What an error's `Debug` begins with, if that looks like the name of a type or of one of its
/// variants: as much of a type's name as can be had of an error whose type is not known.
pub(super) fn first_word(error: &(dyn Error + 'static)) -> Option<String> {
    const LONGEST: usize = 48;
    let mut debug = Message::new(LONGEST + 2);
    // Ends with an error where there is more.
    let _ = write!(debug, "{error:?}");
    let end = debug.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':')));
    let word = &debug[..end.unwrap_or(debug.len())];
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.contains(|c: char| c.is_ascii_lowercase())
    };
    // What a message has after its first word is none of these.
    let rest = &debug[word.len()..];
    let follows = rest.is_empty() || rest.starts_with('(') || rest.starts_with(" {");
    let is_whole = word.len() <= LONGEST && follows;
    (is_whole && word.rsplit("::").next().is_some_and(is_name)).then(|| word.to_owned())
}

/// Whether the last parts of `text` are `message`.
fn ends_with_part(text: &str, message: &str) -> bool {
    text.strip_suffix(message)
        .is_some_and(|before| before.is_empty() || before.ends_with(": "))
}

/// The message of a single error, in one line and without secrets.
fn line(error: &(dyn Error + 'static)) -> String {
    let mut message = Message::new(MAX_MESSAGE);
    // Ends with an error where there is more.
    let _ = write!(message, "{error}");
    let is_cut = message.is_cut();
    let mut line = redact(message.trim(), is_cut);
    if is_cut {
        line.push_str(CUT);
    }
    line
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct Say(String, Option<Box<Say>>);

    impl Say {
        fn all(messages: &[&str]) -> Self {
            let (first, rest) = messages.split_first().unwrap();
            let source = (!rest.is_empty()).then(|| Box::new(Self::all(rest)));
            Self((*first).to_owned(), source)
        }
    }

    impl fmt::Display for Say {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }

    impl Error for Say {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|source| source as _)
        }
    }

    fn redacted(text: &str) -> String {
        redact(text, false)
    }

    #[test]
    fn joins_the_messages() {
        let error = Say::all(&["client error (Connect)", "tcp connect error", "refused"]);
        assert_eq!(
            chain(&error),
            "client error (Connect): tcp connect error: refused"
        );
    }

    #[test]
    fn leaves_out_what_was_said() {
        // An `io::Error` says what its content says, and some errors say what their source says.
        let io = io::Error::other(Say::all(&["failed: a: b", "a: b", "", "b", "c"]));
        assert_eq!(chain(&io), "failed: a: b: c");
        // Half a word is not a repetition.
        assert_eq!(chain(&Say::all(&["unable", "able"])), "unable: able");
    }

    #[test]
    fn is_bounded_in_length_and_depth() {
        let long = "é".repeat(100_000);
        let text = chain(&Say::all(&["a", &long]));
        assert!(text.len() <= MAX_TEXT && text.starts_with("a: é") && text.ends_with("é…"));

        let many: Vec<_> = (0..100).map(|i| i.to_string()).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(chain(&Say::all(&many)).ends_with(": 16"));
    }

    #[test]
    fn is_cut_where_it_is_longer_than_a_line_may_be() {
        let parts = |second: usize| chain(&Say::all(&[&"a".repeat(300), &"b".repeat(second)]));
        let whole = parts(MAX_TEXT - 302);
        assert_eq!(whole.len(), MAX_TEXT);
        assert!(whole.ends_with('b'));
        let cut = parts(MAX_TEXT - 301);
        assert_eq!(cut.len(), MAX_TEXT);
        assert_eq!(cut.strip_suffix(CUT), Some(&whole[..MAX_TEXT - CUT.len()]));
    }

    /// Shows itself as it is told.
    struct Shown(&'static str);

    impl fmt::Debug for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl fmt::Display for Shown {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            unreachable!("what it says is no name")
        }
    }

    impl Error for Shown {}

    #[test]
    fn a_name_is_what_looks_like_one_and_no_more_than_that() {
        const LONG: &str = "NameOfFortyEightLettersWhichIsTheLongestThereIsX";
        assert_eq!(LONG.len(), 48);
        for (debug, name) in [
            ("Name", Some("Name")),
            ("Name(1)", Some("Name")),
            ("Name { a: 1 }", Some("Name")),
            ("Outer::In_ner2(1)", Some("Outer::In_ner2")),
            ("outer::Name", Some("outer::Name")),
            (LONG, Some(LONG)),
            (
                "NameOfFortyEightLettersWhichIsTheLongestThereIsX { a: 1 }",
                Some(LONG),
            ),
            (
                "NameOfFortyEightLettersWhichIsTheLongestThereIsX(1)",
                Some(LONG),
            ),
            ("NameOfFortyNineLettersWhichIsLongerThanAnyThereIs", None),
            ("NameOfFortyNineLettersWhichIsLongerThanAnyThereIs(1)", None),
            ("Name is gone", None),
            ("Name{", None),
            ("name", None),
            ("NAME", None),
            ("NAME(1)", None),
            ("name(1)", None),
            ("Name::", None),
            ("\"Name\"", None),
            ("", None),
        ] {
            assert_eq!(first_word(&Shown(debug)).as_deref(), name, "{debug}");
        }
    }

    #[test]
    fn stays_in_one_line() {
        assert_eq!(
            chain(&Say::all(&["a\r\nb\u{1b}[2J", " c\n"])),
            "a  b [2J: c"
        );
    }

    #[test]
    fn removes_userinfo_query_and_fragment() {
        for (text, expected) in [
            (
                "error sending request for url (https://joe:pw@example.com:8443/a/b?key=s3cr3t#top)",
                "error sending request for url (https://example.com:8443/a/b)",
            ),
            (
                "see http://[::1]:80/x?y, or not",
                "see http://[::1]:80/x, or not",
            ),
            ("http://token@h", "http://h"),
            ("http://h?key", "http://h"),
            ("\"http://h/?a=<b>\"", "\"http://h/<b>\""),
            ("http://a/http://joe:pw@b/?x", "http://a/http://b/"),
            ("http://a/?x=s://joe:pw@b", "http://a/"),
            ("http://joe:p/w@h/x", "http://h/x"),
            ("http://joe:p#w?q", "http://"),
            ("http://joe:p?@s3cr3t", "http://"),
            ("url=ftp://joe:pw@h", "url=ftp://h"),
            ("invalid target /search?q=s3cr3t", "invalid target /search"),
            ("joe:pw@proxy:3128", "proxy:3128"),
        ] {
            assert_eq!(redacted(text), expected, "{text}");
        }
    }

    #[test]
    fn leaves_other_text_alone() {
        for text in [
            "what happened? nothing/everything",
            "Connection refused (os error 111)",
            "https://registry.example/@scope/package",
            "user@example.com, really?yes",
            "http://example.com:8080).",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn a_url_that_is_cut_is_left_out() {
        let error = Say::all(&[&format!(
            "{} http://joe:{}@h/",
            "x".repeat(400),
            "s".repeat(2000)
        )]);
        let text = chain(&error);
        assert!(text.ends_with(&format!("x {CUT}")), "{text}");
    }

    proptest! {
        #[test]
        fn never_panics_and_keeps_its_bounds(messages in prop::collection::vec(".{0,700}", 1..20)) {
            let messages: Vec<_> = messages.iter().map(String::as_str).collect();
            let text = chain(&Say::all(&messages));
            prop_assert!(text.len() <= MAX_TEXT);
            prop_assert!(!text.contains(char::is_control));
        }

        #[test]
        fn never_shows_a_secret(
            before in "[ (='\"/?]{0,3}",
            scheme in "[a-z]{1,5}",
            name in "[a-z]{0,5}",
            host in "[a-z]{1,5}(:[0-9]{1,4})?",
            path in "(/[a-z:@]{0,5}){0,3}",
            query in "[a-z:/?@&=]{0,5}",
            after in "[ )\"',.:]{0,3}",
        ) {
            let text = format!(
                "{before}{scheme}://{name}:S3CR3T@{host}{path}?{query}S3CR3T{query}#{query}S3CR3T{after}"
            );
            prop_assert!(!redacted(&text).contains("S3CR3T"), "{}", redacted(&text));
        }
    }
}
