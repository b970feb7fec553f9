//! How many tokens a prompt may have, without a tokenizer: for reservations, and where no figures come.

use memchr::memchr3_iter;

/// Bytes of text in a token: about four in English, fewer in other languages, whose characters take more bytes.
const BYTES_PER_TOKEN: usize = 4;

/// A run of this many bytes of ASCII without a space is no text but data: an image or a file in base64.
const DATA_BYTES: usize = 4096;

/// What an image or a file counts for. Providers count an image by its size, between some 85 tokens and 1,600.
const DATA_TOKENS: usize = 1_600;

/// A rough count of the tokens of a request body.
pub(crate) fn prompt_tokens(body: &[u8]) -> u64 {
    let (mut text, mut data, mut start) = (0, 0, 0);
    for end in memchr3_iter(b' ', b'"', b'\\', body).chain([body.len()]) {
        let run = &body[start..end];
        if run.len() >= DATA_BYTES && run.is_ascii() {
            data += DATA_TOKENS;
        } else {
            text += run.len() + 1;
        }
        start = end + 1;
    }
    u64::try_from(text / BYTES_PER_TOKEN + data).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_counts_by_its_length() {
        let body =
            format!(r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#, "some words ".repeat(1_000));
        assert!(
            (2_700..2_900).contains(&prompt_tokens(body.as_bytes())),
            "{}",
            prompt_tokens(body.as_bytes())
        );
        let han = "\u{8a9e}".repeat(4_000);
        assert!(prompt_tokens(han.as_bytes()) >= 3_000, "text without spaces is text");
    }

    #[test]
    fn an_image_counts_as_an_image() {
        let image = "iVBORw0KGgo".repeat(100_000);
        for body in [
            format!(r#"{{"image_url":{{"url":"data:image/png;base64,{image}"}}}}"#),
            format!(r#"{{"source":{{"type":"base64","data":"{image}"}}}}"#),
        ] {
            assert!(prompt_tokens(body.as_bytes()) < 1_700, "{}", prompt_tokens(body.as_bytes()));
        }
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(prompt_tokens(b""), 0);
    }
}
