//! One direction of a stream on its way through the chain.
//!
//! Of a TCP stream, what is said of headers here is said of its beginning, and what is said of a body of its data.

use chassis_abi::Buffer;

/// Where headers, body and trailers of one direction are.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// Whether the headers have come in.
    pub(crate) headers_come: bool,
    /// Whether the message ends with its headers.
    pub(crate) headers_end: bool,
    /// Each plugin of the chain, in the order in which this direction passes it.
    pub(crate) stages: Vec<Stage>,
    /// Whether the headers have passed the last plugin.
    pub(crate) released: bool,
    /// Body that has passed the last plugin.
    pub(crate) out: Buffer,
    /// Whether all of the body has passed the last plugin.
    pub(crate) ended: bool,
    /// Whether trailers have passed the last plugin.
    pub(crate) trailers: bool,
    /// Whether nothing more passes or comes in, though it has not ended.
    pub(crate) cut: bool,
    /// Whether the connection is gone from which it comes.
    pub(crate) gone: bool,
    /// Whether the connection is gone to which it goes, so that what passes is dropped.
    pub(crate) unwanted: bool,
    /// HTTP/2 metadata under way, in order: the stage that is to be told of it next, and how many entries it has.
    pub(crate) metadata: Vec<(usize, u32)>,
    /// Whether the last plugin of the chain comes first.
    pub(crate) reversed: bool,
}

/// One plugin in one direction.
#[derive(Debug, Default, Clone)]
pub(crate) struct Stage {
    pub(crate) headers: Headers,
    /// Whether the plugin paused them. They may wait for the body as well (`whole_body`); neither ends with the other.
    pub(crate) headers_paused: bool,
    /// Whether that pause ends when the plugin's body or trailers callback answers CONTINUE.
    pub(crate) until_body: bool,
    /// Whether body came, or its end, that the plugin has not been shown.
    pub(crate) fresh: bool,
    /// Whether the plugin is to be shown the body when all of it is here. The headers wait until the body has passed.
    pub(crate) whole_body: bool,
    /// Whether the plugin did not ask for the body, which passes it.
    pub(crate) unasked: bool,
    /// Whether no more body will come to this stage.
    pub(crate) ended: bool,
    /// Whether the plugin holds the body back.
    pub(crate) paused: bool,
    pub(crate) trailers: Trailers,
    /// Whether everything passes without the plugin being asked.
    pub(crate) bypassed: bool,
}

/// Where the headers are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Headers {
    /// Not here yet.
    #[default]
    Waiting,
    /// Here, and shown: the plugin paused them, or they wait for the body.
    Held,
    /// Gone on.
    Passed,
}

/// Where the trailers are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trailers {
    /// Not here, maybe never.
    #[default]
    None,
    /// Here, not shown yet.
    Arrived,
    /// Held back by the plugin.
    Paused,
    /// Gone on.
    Passed,
}

impl Flow {
    pub(crate) fn new(stages: usize, reversed: bool) -> Self {
        Flow { stages: vec![Stage::default(); stages], reversed, ..Flow::default() }
    }

    /// The lane at a position, and the position of a lane.
    pub(crate) fn lane(&self, position: usize) -> usize {
        if self.reversed { self.stages.len().saturating_sub(1 + position) } else { position }
    }

    /// Forgets everything; the room for stages stays, and a little for pieces of the body.
    pub(crate) fn clear(&mut self) {
        let Flow {
            headers_come,
            headers_end,
            stages,
            released,
            out,
            ended,
            trailers,
            cut,
            gone,
            unwanted,
            metadata,
            reversed,
        } = self;
        stages.clear();
        metadata.clear();
        out.clear();
        for flag in [headers_come, headers_end, released, ended, trailers, cut, gone, unwanted, reversed] {
            *flag = false;
        }
    }

    /// Gives one that was cleared its stages.
    pub(crate) fn set_stages(&mut self, stages: usize, reversed: bool) {
        self.stages.resize(stages, Stage::default());
        self.reversed = reversed;
    }

    /// Whether nothing more can come in.
    pub(crate) fn has_come(&self) -> bool {
        self.headers_end || self.gone || self.stages.first().map_or(self.ended, |stage| stage.ended)
    }

    /// Whether a plugin holds something back.
    pub(crate) fn is_paused(&self) -> bool {
        !self.cut && self.stages.iter().any(Stage::is_paused)
    }

    /// Whether everything of this direction has passed.
    pub(crate) fn is_done(&self) -> bool {
        self.released && (self.ended || self.headers_end)
    }
}

impl Stage {
    pub(crate) fn is_paused(&self) -> bool {
        !self.bypassed && (self.headers == Headers::Held || self.paused || self.trailers == Trailers::Paused)
    }

    /// Has held headers go on if nothing holds them any more.
    pub(crate) fn let_headers_go(&mut self) {
        if self.headers == Headers::Held && !self.headers_paused && !self.whole_body {
            self.headers = Headers::Passed;
        }
    }
}
