//! What a host call answers.

/// The status of a Proxy-Wasm host call (ABI 0.2.1, "Status").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Status {
    /// It was done.
    Ok = 0,
    /// There is no such thing (now).
    NotFound = 1,
    /// An argument is not one of those allowed (now).
    BadArgument = 2,
    /// A value could not be written in its form.
    SerializationFailure = 3,
    /// A value could not be read.
    ParseFailure = 4,
    /// A pointer or length lies outside the guest's memory.
    InvalidMemoryAccess = 6,
    /// There is nothing in it.
    Empty = 7,
    /// The value changed in between.
    CasMismatch = 8,
    /// The host failed, or a quota is used up.
    InternalFailure = 10,
    /// The host does not have this.
    Unimplemented = 12,
}

impl Status {
    /// The specification's name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::NotFound => "not_found",
            Status::BadArgument => "bad_argument",
            Status::SerializationFailure => "serialization_failure",
            Status::ParseFailure => "parse_failure",
            Status::InvalidMemoryAccess => "invalid_memory_access",
            Status::Empty => "empty",
            Status::CasMismatch => "cas_mismatch",
            Status::InternalFailure => "internal_failure",
            Status::Unimplemented => "unimplemented",
        }
    }
}

/// The errors of WASI preview 1 that a host without files answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Errno {
    /// No error.
    Success = 0,
    /// Not an open file descriptor.
    Badf = 8,
    /// A pointer lies outside the guest's memory.
    Fault = 21,
    /// An argument is not valid.
    Inval = 28,
    /// The system cannot give what was asked for.
    Io = 29,
    /// No such file.
    Noent = 44,
    /// Not supported by this host.
    Nosys = 52,
    /// Not a directory.
    Notdir = 54,
    /// Not supported for this kind of file.
    Notsup = 58,
    /// Not a socket.
    Notsock = 57,
    /// A descriptor without position.
    Spipe = 70,
}

impl Errno {
    /// The witx name.
    pub fn as_str(self) -> &'static str {
        match self {
            Errno::Success => "success",
            Errno::Badf => "badf",
            Errno::Fault => "fault",
            Errno::Inval => "inval",
            Errno::Io => "io",
            Errno::Noent => "noent",
            Errno::Nosys => "nosys",
            Errno::Notdir => "notdir",
            Errno::Notsup => "notsup",
            Errno::Notsock => "notsock",
            Errno::Spipe => "spipe",
        }
    }
}
