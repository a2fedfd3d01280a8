//! Results of more than one page.

use crate::error::ClientError;
use crate::row::{QueryResult, Row};
use crate::session::{Call, Session};
use bytes::Bytes;
use futures::Stream;
use futures::stream::{BoxStream, StreamExt, try_unfold};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The pages of a result, each fetched when it is asked for.
#[derive(Debug)]
pub struct Pager {
    session: Session,
    call: Call,
    ended: bool,
}

impl Pager {
    pub(crate) fn new(session: Session, call: Call) -> Pager {
        Pager { session, call, ended: false }
    }

    /// Goes on where an earlier page of the same statement with the same values ended:
    /// [`QueryResult::paging_state`].
    #[must_use]
    pub fn resume(mut self, paging_state: Bytes) -> Pager {
        self.call.paging_state = paging_state;
        self
    }

    /// The next page; `None` after the last one. A page may have no rows and not be the last. After an error the
    /// same page can be asked for again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn next_page(&mut self) -> Result<Option<QueryResult>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let page = self.session.run(&mut self.call).await?;
        match page.paging_state() {
            Some(state) => self.call.paging_state = state.clone(),
            None => self.ended = true,
        }
        Ok(Some(page))
    }

    /// All rows of all pages from here on.
    #[must_use]
    pub fn into_rows(self) -> RowStream {
        let rows = try_unfold((self, Vec::new().into_iter()), |(mut pager, mut rows)| async move {
            loop {
                if let Some(row) = rows.next() {
                    return Ok(Some((row, (pager, rows))));
                }
                match pager.next_page().await? {
                    Some(page) => rows = page.into_rows().into_iter(),
                    None => return Ok(None),
                }
            }
        });
        RowStream { rows: rows.boxed() }
    }
}

/// The rows of a result as a stream. It ends after the first error.
pub struct RowStream {
    rows: BoxStream<'static, Result<Row, ClientError>>,
}

impl RowStream {
    /// The next row; `None` after the last one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn next_row(&mut self) -> Result<Option<Row>, ClientError> {
        self.rows.next().await.transpose()
    }
}

impl Stream for RowStream {
    type Item = Result<Row, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.rows.poll_next_unpin(context)
    }
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowStream")
    }
}
