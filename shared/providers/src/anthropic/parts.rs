//! Content parts: text, images, files, thoughts.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::messages::Block;
use super::request::wrong;
use super::tools::Token;
use crate::json::{self, Text};
use crate::port::BadRequest;

/// Whose content it is: not every part may stand everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    System,
    User,
    Assistant,
    ToolResult,
}

/// Where an image or a document comes from.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source<'a> {
    Base64 { media_type: String, data: Cow<'a, str> },
    Url { url: Cow<'a, str> },
    File { file_id: Cow<'a, str> },
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    r#type: Text<'a>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    file: Option<File<'a>>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ImageUrl<'a> {
    #[serde(borrow)]
    url: Text<'a>,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    filename: Option<Text<'a>>,
    #[serde(borrow)]
    file_data: Option<Text<'a>>,
    #[serde(borrow)]
    file_id: Option<Text<'a>>,
}

/// The blocks of an array of parts.
pub(super) fn translate(at: usize, array: &RawValue, place: Place) -> Result<Vec<Block<'_>>, BadRequest> {
    let field = || format!("messages[{at}].content");
    let raws: Vec<&RawValue> = serde_json::from_str(array.get())
        .map_err(|_| wrong(&field(), "must be a string or an array of parts"))?;
    let mut blocks = Vec::with_capacity(raws.len());
    for (part_at, raw) in raws.into_iter().enumerate() {
        let field = || format!("{}[{part_at}]", field());
        let part: Part<'_> =
            serde_json::from_str(raw.get()).map_err(|_| wrong(&field(), "is not a content part"))?;
        let block = match (&*part.r#type.0, place) {
            ("text", _) => text(part.text, part.cache_control, &field)?,
            ("refusal", Place::Assistant) => text(part.refusal, part.cache_control, &field)?,
            ("thinking" | "redacted_thinking", Place::Assistant) => {
                is_replayable(raw).then_some(Block::Verbatim(raw))
            }
            ("image_url", Place::User | Place::ToolResult) => Some(Block::Image {
                source: image(part.image_url).ok_or_else(|| {
                    wrong(&format!("{}.image_url", field()), "must be an https URL or base64 image data")
                })?,
                cache_control: part.cache_control,
            }),
            ("file", Place::User | Place::ToolResult) => {
                let file = part.file.and_then(|file| document(file, part.cache_control));
                Some(file.ok_or_else(|| {
                    wrong(
                        &format!("{}.file", field()),
                        "must be a file id, or base64 data of a PDF or an image",
                    )
                })?)
            }
            _ => return Err(wrong(&field(), "has a type that this provider does not take here")),
        };
        blocks.extend(block);
    }
    Ok(blocks)
}

fn text<'a>(
    text: Option<&'a RawValue>,
    cache_control: Option<&'a RawValue>,
    field: &dyn Fn() -> String,
) -> Result<Option<Block<'a>>, BadRequest> {
    match text {
        Some(text) if json::is_string(text) => Ok((!json::is_blank(text)).then_some(Block::Text {
            text: Token::Raw(text),
            cache_control,
            plain: false,
        })),
        _ => Err(wrong(&field(), "has no text")),
    }
}

/// Can this thinking block be sent back? One without a signature cannot.
pub(super) fn is_replayable(raw: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Thought<'a> {
        #[serde(borrow)]
        r#type: Text<'a>,
        #[serde(borrow)]
        signature: Option<Text<'a>>,
    }
    serde_json::from_str::<Thought<'_>>(raw.get()).is_ok_and(|thought| match &*thought.r#type.0 {
        "thinking" => thought.signature.is_some_and(|signature| !signature.0.is_empty()),
        "redacted_thinking" => true,
        _ => false,
    })
}

/// `image_url`, an object with a `url` or, from some clients, the URL itself. Anthropic fetches from https only.
fn image(raw: Option<&RawValue>) -> Option<Source<'_>> {
    let raw = raw?;
    let url = match json::string(raw) {
        Some(url) => url,
        None => serde_json::from_str::<ImageUrl<'_>>(raw.get()).ok()?.url.0,
    };
    if url.starts_with("data:") {
        let (media_type, data) = base64_data(url)?;
        return media_type.starts_with("image/").then_some(Source::Base64 { media_type, data });
    }
    url.starts_with("https://").then_some(Source::Url { url })
}

fn document<'a>(file: File<'a>, cache_control: Option<&'a RawValue>) -> Option<Block<'a>> {
    let title = file.filename.map(|name| name.0).filter(|name| !name.is_empty());
    if let Some(file_id) = file.file_id {
        return Some(Block::Document { source: Source::File { file_id: file_id.0 }, title, cache_control });
    }
    let (media_type, data) = base64_data(file.file_data?.0)?;
    if media_type.starts_with("image/") {
        return Some(Block::Image { source: Source::Base64 { media_type, data }, cache_control });
    }
    (media_type == "application/pdf").then_some(Block::Document {
        source: Source::Base64 { media_type, data },
        title,
        cache_control,
    })
}

/// `data:<media type>[;…];base64,<data>` → media type and data.
fn base64_data(url: Cow<'_, str>) -> Option<(String, Cow<'_, str>)> {
    let comma = url.find(',')?;
    let head = url.get(..comma)?.strip_prefix("data:")?.strip_suffix(";base64")?;
    let media_type = match head.split(';').next()? {
        "" => return None,
        "image/jpg" => "image/jpeg", // a common misspelling, which Anthropic refuses
        other => other,
    }
    .to_owned();
    let data = match url {
        Cow::Borrowed(url) => Cow::Borrowed(url.get(comma + 1..)?),
        Cow::Owned(mut url) => Cow::Owned(url.split_off(comma + 1)),
    };
    Some((media_type, data))
}
