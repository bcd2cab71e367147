//! What becomes of a text before it leaves this crate, whoever wrote it: it is one line, and holds
//! no credentials and no query of a URL.

use std::borrow::Cow;

/// Whether a character changes the direction in which the text around it is shown: with these, a
/// line can be made to look like another one.
fn is_bidi_control(char: char) -> bool {
    matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// `text` without characters that change its direction.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_bidi_control) {
        Cow::Owned(
            text.chars()
                .filter(|char| !is_bidi_control(*char))
                .collect(),
        )
    } else {
        Cow::Borrowed(text)
    }
}

/// `text` as one line, with nothing else removed: for what was made of a URL's path, or of a header.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    // Nearly every text; without a way out of the loop it goes by many bytes at once.
    let plain = |plain: bool, byte: u8| plain & matches!(byte, b' '..=b'~');
    if text.bytes().fold(true, plain) {
        return Cow::Borrowed(text);
    }
    let is_break = |char: char| {
        char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') || is_bidi_control(char)
    };
    if text.contains(is_break) {
        let visible = visible(text);
        let clean = |char| if is_break(char) { ' ' } else { char };
        Cow::Owned(visible.chars().map(clean).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether [`redact`] may change a URL whose own userinfo and query are left out already. Most need
/// no copy.
pub(crate) fn may_need_redaction(url: &str) -> bool {
    !is_plain(url.as_bytes())
        && url.contains(|char: char| {
            matches!(char, '@' | '?' | '#')
                || char.is_whitespace()
                || char.is_control()
                || is_bidi_control(char)
        })
}

/// Whether all of it is visible ASCII without `@`, `?` and `#`, as nearly every URL's host and path
/// are. Eight bytes at a time: the URL of every failure is asked.
fn is_plain(text: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGHS: u64 = ONES << 7;
    // Not zero if a byte of the word is below `least`, which is at most 0x80.
    let below = |word: u64, least: u64| word.wrapping_sub(ONES * least) & !word & HIGHS;
    let is_plain = |word: u64| {
        let has = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        let marks = has(b'@') | has(b'?') | has(b'#') | has(0x7f);
        word & HIGHS | below(word, u64::from(b'!')) | marks == 0
    };
    let chunks = text.chunks_exact(size_of::<u64>());
    let mut rest = [b'a'; size_of::<u64>()];
    for (to, from) in rest.iter_mut().zip(chunks.remainder()) {
        *to = *from;
    }
    let mut words = chunks.filter_map(|chunk| Some(u64::from_ne_bytes(*chunk.first_chunk()?)));
    words.all(is_plain) && is_plain(u64::from_ne_bytes(rest))
}

/// Shows `shown` wherever `text` has `secret`, or, where it was cut, may have the beginning of it.
pub(crate) fn hide(text: &str, secret: &str, shown: &str) -> String {
    // A root, or nothing, would be found everywhere.
    if secret.len() < 2 {
        return text.to_owned();
    }
    let hidden = text.replace(secret, shown);
    let Some(cut) = hidden.strip_suffix('…') else {
        return hidden;
    };
    let part = (2..secret.len())
        .rev()
        .filter(|end| secret.is_char_boundary(*end))
        .find_map(|end| cut.strip_suffix(&secret[..end]));
    match part {
        Some(before) => format!("{before}…"),
        None => hidden,
    }
}

/// Whether [`redact`] certainly changes nothing: one line, no `@`, no query, and behind a colon at
/// most a port. Nearly every text, and it is told without a copy.
fn is_clean(text: &str) -> bool {
    let mut words = text.split(' ');
    if !words.all(|word| is_plain(word.as_bytes())) {
        return false;
    }
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once(':') {
        let after = behind.trim_start_matches(|char: char| char.is_ascii_digit());
        if !(after.is_empty() || after.starts_with(['/', ' '])) {
            return false;
        }
        rest = behind;
    }
    true
}

/// Redacts a text that is shown later; what needs no change is not copied.
pub(crate) fn clean(text: &mut Cow<'static, str>) {
    if is_clean(text) {
        return;
    }
    let redacted = redact(text, false);
    if redacted != **text {
        *text = Cow::Owned(redacted);
    }
}

pub(crate) fn clean_all(texts: &mut [String]) {
    for text in texts.iter_mut().filter(|text| !is_clean(text)) {
        *text = redact(text, false);
    }
}

/// Texts that are read back: whoever wrote them down, they are cleaned like those that are made here.
#[cfg(feature = "serde")]
pub(crate) mod read {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer};

    use super::redact;

    pub(crate) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        String::deserialize(from).map(|text| redact(&text, false))
    }

    pub(crate) fn cow<'de, D: Deserializer<'de>>(from: D) -> Result<Cow<'static, str>, D::Error> {
        text(from).map(Cow::Owned)
    }

    pub(crate) fn option<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        Ok(text.map(|text| redact(&text, false)))
    }

    pub(crate) fn all<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
        let mut texts = Vec::deserialize(from)?;
        super::clean_all(&mut texts);
        Ok(texts)
    }

    pub(crate) fn pairs<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(String, String)>, D::Error> {
        let mut pairs = Vec::<(String, String)>::deserialize(from)?;
        for text in pairs.iter_mut().flat_map(|(name, value)| [name, value]) {
            *text = redact(text, false);
        }
        Ok(pairs)
    }
}

/// Removes from `text` what looks like the userinfo, query or fragment of a URL, and everything
/// that is not part of a single line: control characters, line separators, and what changes the
/// direction in which the text is shown.
///
/// `is_cut` says that the text goes on: its last word, if it may be the beginning of a URL, is
/// left out, because a password whose `@` is missing looks like a port.
pub(crate) fn redact(text: &str, is_cut: bool) -> String {
    if !is_cut && is_clean(text) {
        return text.to_owned();
    }
    redact_all(text, is_cut)
}

fn redact_all(text: &str, is_cut: bool) -> String {
    // Before it is split into words: what is not shown must not end one.
    let text = visible(text);
    let mut redacted = String::with_capacity(text.len());
    let mut rest = &*text;
    while !rest.is_empty() {
        let end = rest.find(is_boundary).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if !(is_cut && after.is_empty() && word.contains(['/', '@', '?', ':'])) {
            redact_word(word, &mut redacted);
        }
        let mut after = after.chars();
        if let Some(boundary) = after.next() {
            let is_blank = boundary.is_whitespace() || boundary.is_control();
            redacted.push(if is_blank { ' ' } else { boundary });
        }
        rest = after.as_str();
    }
    redacted
}

/// What no URL contains (RFC 3986, section 2).
fn is_boundary(char: char) -> bool {
    char.is_whitespace() || char.is_control() || matches!(char, '"' | '<' | '>' | '`')
}

/// Removes userinfo, query and fragment from a word that may be, or contain, a URL.
fn redact_word(word: &str, redacted: &mut String) {
    let mut rest = word;
    let mut in_url = false;
    while let Some(colon) = rest.find("://") {
        let (before, after) = rest.split_at(colon);
        if before.contains(['?', '#']) && (in_url || before.contains('/')) {
            // A URL in a query goes with it.
            in_url = true;
            break;
        }
        redacted.push_str(before);
        redacted.push_str("://");
        rest = without_userinfo(&after["://".len()..]);
        in_url = true;
    }
    if !in_url {
        // An authority on its own, as a request to a proxy has it.
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if let Some(at) = rest[..end].rfind('@') {
            if rest[..at].contains(':') {
                rest = &rest[at + 1..];
            }
        }
    }
    let is_query = |start: usize| {
        let (path, query) = rest.split_at(start);
        // Without a scheme it may be the end of a question.
        let says = !query
            .trim_matches(|c| matches!(c, '?' | '#') || is_closing(c))
            .is_empty();
        in_url || (says && (path.contains('/') || query.contains('=')))
    };
    match rest.find(['?', '#']).filter(|&start| is_query(start)) {
        Some(start) => {
            let (path, query) = rest.split_at(start);
            redacted.push_str(path);
            redacted.push_str(closing(query));
        }
        None => redacted.push_str(rest),
    }
}

/// The rest of a URL, from its authority on, without userinfo.
fn without_userinfo(rest: &str) -> &str {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    if let Some(at) = authority.rfind('@') {
        return &rest[at + 1..];
    }
    // A password with a slash of its own ends the authority too early: what follows the colon is
    // then no port. It goes on to the `@`, or, if there is none before a query, to the end.
    let is_port = |port: &str| {
        port.trim_end_matches(is_closing)
            .bytes()
            .all(|byte| byte.is_ascii_digit())
    };
    match authority.split_once(':') {
        Some((_, port)) if !authority.starts_with('[') && !is_port(port) => {
            let path = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
            path.rfind('@').map_or("", |at| &rest[at + 1..])
        }
        _ => rest,
    }
}

/// The punctuation that a sentence puts after a URL.
fn closing(text: &str) -> &str {
    &text[text.trim_end_matches(is_closing).len()..]
}

fn is_closing(char: char) -> bool {
    matches!(char, ')' | ']' | '}' | '\'' | ',' | ';' | ':' | '.' | '!')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What forges a line, or hides what is on it.
    const BREAKS: [char; 16] = [
        '\r', '\n', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202e}',
        '\u{2066}', '\u{2069}', '\u{200e}', '\u{200f}', '\u{61c}', '\0', '\u{1b}',
    ];

    fn noise() -> impl Strategy<Value = String> {
        let char = prop_oneof![
            3 => proptest::char::range('a', 'z'),
            2 => proptest::sample::select(&BREAKS[..]),
            2 => proptest::sample::select(&[' ', ':', '/', '(', ')', '"', '?', '.', '#', '@'][..]),
            1 => any::<char>(),
        ];
        proptest::collection::vec(char, 0..12).prop_map(String::from_iter)
    }

    /// A URL, or a part of one, that holds a secret where clients put theirs.
    fn url() -> impl Strategy<Value = String> {
        proptest::sample::select(
            &[
                "https://joe:5ecret@a.test/x",
                "http://5ecret@a.test",
                "https://a.test/x?5ecret",
                "https://a.test/x?key=5ecret&b=5ecret",
                "https://a.test?5ecret",
                "https://a.test/x#5ecret",
                "ws://joe:5ecret/@a.test/x",
                "/cb?5ecret",
                "/cb?key=5ecret",
                "index.php?key=5ecret",
                "joe:5ecret@proxy:8080",
                "https://a.test/?to=https://b.test/?5ecret",
            ][..],
        )
        .prop_map(str::to_owned)
    }

    proptest! {
        #[test]
        fn a_redacted_text_is_one_line_without_secrets(
            before in noise(),
            url in url(),
            after in noise(),
            is_cut in any::<bool>(),
        ) {
            let text = format!("{before} {url} {after}");
            let redacted = redact(&text, is_cut);
            prop_assert!(!redacted.contains(BREAKS), "{redacted:?}");
            prop_assert!(!redacted.contains("5ecret"), "{text:?} -> {redacted:?}");
            // Nothing is left to be removed.
            prop_assert_eq!(redact(&redacted, false), redacted);
        }

        #[test]
        fn a_mark_within_a_secret_does_not_end_it(url in url(), mark in proptest::sample::select(&BREAKS[7..14])) {
            let split = url.replace("5ecret", &format!("5e{mark}cret"));
            prop_assert!(!redact(&split, false).contains("cret"));
        }

        #[test]
        fn what_is_plain_is_told_by_each_byte(text in proptest::collection::vec(any::<u8>(), 0..20), most in any::<u8>()) {
            for text in [text.clone(), text.iter().map(|byte| byte % most.max(1)).collect()] {
                let plain = |byte: &u8| matches!(byte, b'!'..=b'~') && !b"@?#".contains(byte);
                prop_assert_eq!(is_plain(&text), text.iter().all(plain), "{:?}", text);
            }
        }

        #[test]
        fn what_is_clean_is_not_changed(text in "[a-z]{0,4}(:|://|/| |[0-9]{1,3}|[a-c.@?\\[\\]]){0,8}") {
            if is_clean(&text) {
                prop_assert_eq!(redact_all(&text, false), text);
            }
        }

        #[test]
        fn one_line_is_one_line(text in noise()) {
            let line = one_line(&text);
            prop_assert!(!line.contains(BREAKS), "{line:?}");
        }
    }

    #[test]
    fn a_secret_path_is_hidden_also_where_it_is_cut() {
        let hidden = |text: &str| hide(text, "/bot5ecret/send", "/bot-/send");
        assert_eq!(
            hidden("url (http://a/bot5ecret/send)"),
            "url (http://a/bot-/send)"
        );
        assert_eq!(hidden("url (http://a/bot5ecr…"), "url (http://a…");
        assert_eq!(hidden("nothing…"), "nothing…");
        assert_eq!(hide("a/b", "/", "-"), "a/b");
    }

    #[test]
    fn each_byte_in_each_place_is_seen() {
        for (byte, place) in (0..=u8::MAX).flat_map(|byte| (0..19).map(move |place| (byte, place)))
        {
            let mut text = [b'x'; 19];
            text[place] = byte;
            let plain = matches!(byte, b'!'..=b'~') && !b"@?#".contains(&byte);
            assert_eq!(is_plain(&text), plain, "{byte} in {place}");
        }
    }

    #[test]
    fn most_texts_are_clean() {
        for text in [
            "http://a.test:8080/x",
            "not listed: 404",
            "https://a.test (another path)",
            "",
        ] {
            assert!(is_clean(text), "{text}");
        }
        for text in [
            "http://a:80:90/x",
            "http://a:b/",
            "http://a/?b",
            "x@y",
            "a\nb",
            "[::1]:80",
        ] {
            assert!(!is_clean(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_stays() {
        for text in [
            "is it a read/write?",
            "what? no",
            "issue #12 of a/b",
            "expected `?` after `x`",
            "a@b is an address",
        ] {
            assert_eq!(redact(text, false), text);
            let mut cow = Cow::Borrowed(text);
            clean(&mut cow);
            assert!(matches!(cow, Cow::Borrowed(_)));
        }
    }
}
