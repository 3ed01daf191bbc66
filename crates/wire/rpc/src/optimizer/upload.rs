//! Contents as a stream of parts, and back.

use std::sync::Arc;

use fapo_proto::optimizer::v1::UploadBlobsRequest;
use futures::{Stream, StreamExt};
use tonic::Status;

use crate::guard::broken_stream;
use crate::read::Invalid;

/// Bytes of one part.
const PART_BYTES: usize = 1 << 20;
/// Contents of one stream.
const MOST_CONTENTS: usize = 100_000;

/// The parts of all contents, in order.
pub(super) fn parts(contents: Arc<Vec<Arc<[u8]>>>) -> impl Iterator<Item = UploadBlobsRequest> {
    (0..contents.len()).flat_map(move |number| {
        let content = Arc::clone(&contents[number]);
        // an empty content has a part too
        let count = content.len().div_ceil(PART_BYTES).max(1);
        (0..count).map(move |part| {
            let begin = part * PART_BYTES;
            let end = content.len().min(begin + PART_BYTES);
            UploadBlobsRequest {
                data: content[begin..end].to_vec(),
                last: part + 1 == count,
            }
        })
    })
}

/// The contents that a stream of parts holds, `most` bytes together.
pub(super) async fn collect(
    mut parts: impl Stream<Item = Result<UploadBlobsRequest, Status>> + Unpin,
    most: usize,
) -> Result<Vec<Arc<[u8]>>, Status> {
    let (mut contents, mut content, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
    let mut open = false;
    while let Some(part) = parts.next().await {
        let part = part.map_err(broken_stream)?;
        bytes = bytes.saturating_add(part.data.len());
        if bytes > most {
            let rule = format!("one stream can hold {most} bytes at most: upload fewer at once");
            return Err(Invalid::new("data", rule).into());
        }
        if contents.len() == MOST_CONTENTS {
            let rule = format!("one stream can hold {MOST_CONTENTS} contents at most");
            return Err(Invalid::new("last", rule).into());
        }
        content.extend_from_slice(&part.data);
        open = !part.last;
        if part.last {
            contents.push(Arc::from(std::mem::take(&mut content)));
        }
    }
    if open {
        let rule = "the stream ended in the middle of a content: its last part has to say so";
        return Err(Invalid::new("last", rule).into());
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use futures::stream::iter;

    use super::*;

    fn contents() -> Vec<Arc<[u8]>> {
        [0, 1, PART_BYTES, PART_BYTES + 1, 0]
            .into_iter()
            .map(|length| Arc::from(vec![7; length]))
            .collect()
    }

    #[tokio::test]
    async fn contents_of_any_length_come_out_as_they_went_in() {
        let sent: Vec<_> = parts(Arc::new(contents())).map(Ok).collect();
        assert_eq!(sent.len(), 6);
        assert_eq!(collect(iter(sent), usize::MAX).await.unwrap(), contents());
    }

    #[tokio::test]
    async fn a_stream_that_is_too_long_or_ends_in_the_middle_is_refused() {
        let sent = || parts(Arc::new(contents())).map(Ok);
        let too_long = collect(iter(sent().collect::<Vec<_>>()), PART_BYTES).await;
        assert_eq!(too_long.unwrap_err().code(), tonic::Code::InvalidArgument);
        let cut: Vec<_> = sent().take(4).collect();
        let cut = collect(iter(cut), usize::MAX).await.unwrap_err();
        assert_eq!(cut.code(), tonic::Code::InvalidArgument);
        assert!(cut.message().contains("`last`"), "{cut}");
    }
}
