use super::*;

/// (name, data) of the events with data, and every raw byte.
type Split = (Vec<(String, String)>, Vec<u8>);

fn split(stream: &[u8], step: usize) -> Split {
    let mut splitter = Splitter::new();
    let (mut events, mut raw) = (Vec::new(), Vec::new());
    let mut take = |event: Event| {
        raw.extend_from_slice(&event.raw);
        if let Some(data) = event.data {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            events.push((text(&event.name), text(&data)));
        }
    };
    for chunk in stream.chunks(step) {
        splitter.push(Bytes::copy_from_slice(chunk));
        while let Some(event) = splitter.next_event().unwrap() {
            take(event);
        }
    }
    if let Some(event) = splitter.finish() {
        take(event);
    }
    (events, raw)
}

fn check(stream: &str, expected: &[(&str, &str)]) {
    let expected: Vec<_> =
        expected.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect();
    for step in 1..=stream.len() {
        let (events, raw) = split(stream.as_bytes(), step);
        assert_eq!(events, expected, "{stream:?} in steps of {step}");
        assert_eq!(raw, stream.as_bytes(), "{stream:?} in steps of {step}");
    }
}

#[test]
fn line_ends() {
    for end in ["\n", "\r", "\r\n"] {
        check(
            &format!("event: a{end}data: 1{end}{end}data:2{end}{end}{end}data: 3{end}{end}"),
            &[("a", "1"), ("", "2"), ("", "3")],
        );
    }
    check("data: 1\r\ndata: 2\r\r\ndata: 3\n\r\n", &[("", "1\n2"), ("", "3")]);
}

#[test]
fn only_lf_and_cr_end_lines() {
    check("data: a\u{2028}b\u{85}c\u{2029}d\u{b}\u{c}\n\n", &[("", "a\u{2028}b\u{85}c\u{2029}d\u{b}\u{c}")]);
}

#[test]
fn fields() {
    check(": note\n\ndata: x\n: c\nid: 1\nretry: 5\n\n", &[("", "x")]);
    check("data\n\n", &[("", "")]);
    check("data:  two spaces\ndata:\ndata:end\n\n", &[("", " two spaces\n\nend")]);
    check("event: a\nevent: b\ndata: 1\n\nevent: c\n\ndata: 2\n\n", &[("b", "1"), ("", "2")]);
    check("\u{feff}data: 1\n\ndata: 2\n\n", &[("", "1"), ("", "2")]);
    check("datax: 1\n\nDATA: 2\n\n", &[]);
}

#[test]
fn the_end_without_a_blank_line() {
    check("data: 1\n\ndata: [DONE]", &[("", "1"), ("", "[DONE]")]);
    check("data: 1\n\ndata: [DONE]\n", &[("", "1"), ("", "[DONE]")]);
    check("data: 1\r\n\r\n", &[("", "1")]);
}

#[test]
fn foreign_lines_are_told() {
    let foreign = |stream: &'static str| {
        let mut splitter = Splitter::new();
        splitter.push(Bytes::from_static(stream.as_bytes()));
        splitter.next_event().unwrap().or_else(|| splitter.finish()).unwrap().foreign
    };
    assert!(foreign("<html>\n\n"));
    assert!(foreign("{\"error\":{}}"));
    assert!(!foreign(": fine\n\n"));
    assert!(!foreign("event: x\nid: 1\nretry: 2\ndata: 3\n\n"));
}

#[test]
fn a_whole_event_is_a_slice_of_its_read() {
    let read = Bytes::from_static(b"data: one\n\ndata: two\n\n");
    let mut splitter = Splitter::new();
    splitter.push(read.clone());
    let event = splitter.next_event().unwrap().unwrap();
    assert_eq!(event.raw.as_ptr(), read.as_ptr());
    assert_eq!(event.data.unwrap().as_ptr(), read[6..].as_ptr());
}

#[test]
fn an_event_is_bounded() {
    let mut splitter = Splitter::new();
    splitter.push(Bytes::from(vec![b'x'; MAX_EVENT]));
    assert_eq!(splitter.next_event(), Ok(None));
    splitter.push(Bytes::from_static(b"xx"));
    assert_eq!(splitter.next_event(), Err(TooLong));

    let mut whole = vec![b'x'; MAX_EVENT];
    whole.extend_from_slice(b"\n\n");
    let mut splitter = Splitter::new();
    splitter.push(whole.into());
    assert_eq!(splitter.next_event(), Err(TooLong));
}

/// Quadratic scanning would need 10^12 steps here and never end within a test run.
#[test]
fn one_byte_reads_of_a_long_event_are_linear() {
    let mut splitter = Splitter::new();
    splitter.push(Bytes::from_static(b"data: "));
    for _ in 0..1_000_000 {
        assert_eq!(splitter.next_event(), Ok(None));
        splitter.push(Bytes::from_static(b"x"));
    }
    splitter.push(Bytes::from_static(b"\n\n"));
    let event = splitter.next_event().unwrap().unwrap();
    assert_eq!(event.data.unwrap().len(), 1_000_000);
}

#[test]
fn many_data_lines_are_linear() {
    let stream = "data: x\n".repeat(200_000) + "\n";
    let mut splitter = Splitter::new();
    splitter.push(Bytes::from(stream));
    assert_eq!(splitter.next_event().unwrap().unwrap().data.unwrap().len(), 399_999);
}
