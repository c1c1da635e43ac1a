//! The rows of WASI preview 1: all 46 functions, under both module names that toolchains use.

use chassis_engine_api::{Registrar, Sig, Ty};

use super::dispatch::{Function, In, Namespace, Reply};
use super::rows::host_functions;
use super::wasi;
use crate::call::{Call, Fault};
use crate::state::VmState;
use crate::table::Param::{Bytes, Int, Long, Out};
use crate::table::Versions::Wasi;
use crate::table::{Allowed, Answer, Group, Row, flatten, result};

/// The name that toolchains have used since 2020.
pub(crate) struct Preview1;

impl Namespace for Preview1 {
    const NAME: &'static str = "wasi_snapshot_preview1";
}

/// The name before that; AssemblyScript's SDK still uses it.
pub(crate) struct Unstable;

impl Namespace for Unstable {
    const NAME: &'static str = "wasi_unstable";
}

/// The rows.
pub(crate) const WASI: &[&Row] = ROWS;

host_functions! {
    &["wasi_snapshot_preview1", "wasi_unstable"];

    ArgsGet "args_get" (Int("argv"), Int("argv_buf")) -> Errno;
        Environment, Wasi, Start, [], "Gives the arguments; there are none." => wasi::success;
    ArgsSizesGet "args_sizes_get" (Out("argc"), Out("argv_buf_size")) -> Errno;
        Environment, Wasi, Start, [], "Tells how many arguments there are: none." => wasi::args_sizes_get;
    EnvironGet "environ_get" (Int("environ"), Int("environ_buf")) -> Errno;
        Environment, Wasi, Start, [], "Gives the configured environment." => wasi::environ_get;
    EnvironSizesGet "environ_sizes_get" (Out("count"), Out("buf_size")) -> Errno;
        Environment, Wasi, Start, [], "Tells the size of the configured environment." => wasi::environ_sizes_get;
    ClockResGet "clock_res_get" (Int("id"), Out("resolution")) -> Errno;
        Time, Wasi, Start, [], "Tells a clock's resolution." => wasi::clock_res_get;
    ClockTimeGet "clock_time_get" (Int("id"), Long("precision"), Out("time")) -> Errno;
        Time, Wasi, Everywhere, [], "Tells a clock's time." => wasi::clock_time_get;
    FdAdvise "fd_advise" (Int("fd"), Long("offset"), Long("len"), Int("advice")) -> Errno;
        Files, Wasi, Start, [], "Announces how a file is used." => wasi::not_seekable;
    FdAllocate "fd_allocate" (Int("fd"), Long("offset"), Long("len")) -> Errno;
        Files, Wasi, Start, [], "Reserves space in a file." => wasi::not_seekable;
    FdClose "fd_close" (Int("fd")) -> Errno;
        Files, Wasi, Start, [], "Closes a file." => wasi::standard_stream;
    FdDatasync "fd_datasync" (Int("fd")) -> Errno;
        Files, Wasi, Start, [], "Flushes a file's data." => wasi::standard_stream;
    FdFdstatGet "fd_fdstat_get" (Int("fd"), Out("stat")) -> Errno;
        Files, Wasi, Start, [], "Describes an open file." => wasi::fd_fdstat_get;
    FdFdstatSetFlags "fd_fdstat_set_flags" (Int("fd"), Int("flags")) -> Errno;
        Files, Wasi, Start, [], "Sets a file's flags." => wasi::not_supported;
    FdFdstatSetRights "fd_fdstat_set_rights" (Int("fd"), Long("base"), Long("inheriting")) -> Errno;
        Files, Wasi, Start, [], "Lessens a file's rights." => wasi::standard_stream;
    FdFilestatGet "fd_filestat_get" (Int("fd"), Out("stat")) -> Errno;
        Files, Wasi, Start, [], "Describes a file." => wasi::fd_filestat_get;
    FdFilestatSetSize "fd_filestat_set_size" (Int("fd"), Long("size")) -> Errno;
        Files, Wasi, Start, [], "Sets a file's size." => wasi::not_seekable;
    FdFilestatSetTimes "fd_filestat_set_times" (Int("fd"), Long("accessed"), Long("modified"), Int("flags")) -> Errno;
        Files, Wasi, Start, [], "Sets a file's times." => wasi::not_supported;
    FdPread "fd_pread" (Int("fd"), Int("iovs"), Int("iovs_len"), Long("offset"), Out("read")) -> Errno;
        Files, Wasi, Start, [], "Reads at a position." => wasi::not_seekable;
    FdPrestatGet "fd_prestat_get" (Int("fd"), Out("prestat")) -> Errno;
        Files, Wasi, Start, [], "Describes an opened directory; there is none." => wasi::no_file;
    FdPrestatDirName "fd_prestat_dir_name" (Int("fd"), Int("path"), Int("path_len")) -> Errno;
        Files, Wasi, Start, [], "Names an opened directory; there is none." => wasi::no_file;
    FdPwrite "fd_pwrite" (Int("fd"), Int("iovs"), Int("iovs_len"), Long("offset"), Out("written")) -> Errno;
        Files, Wasi, Start, [], "Writes at a position." => wasi::not_seekable;
    FdRead "fd_read" (Int("fd"), Int("iovs"), Int("iovs_len"), Out("read")) -> Errno;
        Files, Wasi, Start, [], "Reads; standard input is at its end." => wasi::fd_read;
    FdReaddir "fd_readdir" (Int("fd"), Int("buf"), Int("buf_len"), Long("cookie"), Out("used")) -> Errno;
        Files, Wasi, Start, [], "Reads a directory; there is none." => wasi::no_directory;
    FdRenumber "fd_renumber" (Int("fd"), Int("to")) -> Errno;
        Files, Wasi, Start, [], "Moves a file to another number." => wasi::not_supported;
    FdSeek "fd_seek" (Int("fd"), Long("offset"), Int("whence"), Out("position")) -> Errno;
        Files, Wasi, Start, [], "Moves a file's position." => wasi::not_seekable;
    FdSync "fd_sync" (Int("fd")) -> Errno;
        Files, Wasi, Start, [], "Flushes a file." => wasi::standard_stream;
    FdTell "fd_tell" (Int("fd"), Out("position")) -> Errno;
        Files, Wasi, Start, [], "Tells a file's position." => wasi::not_seekable;
    FdWrite "fd_write" (Int("fd"), Int("iovs"), Int("iovs_len"), Out("written")) -> Errno;
        Log, Wasi, Everywhere, [], "Writes; standard output and error become log lines." => wasi::fd_write;
    PathCreateDirectory "path_create_directory" (Int("fd"), Bytes("path")) -> Errno;
        Files, Wasi, Start, [], "Makes a directory." => wasi::no_file;
    PathFilestatGet "path_filestat_get" (Int("fd"), Int("flags"), Bytes("path"), Out("stat")) -> Errno;
        Files, Wasi, Start, [], "Describes a file by its path." => wasi::no_file;
    PathFilestatSetTimes "path_filestat_set_times" (Int("fd"), Int("flags"), Bytes("path"), Long("accessed"), Long("modified"), Int("time_flags")) -> Errno;
        Files, Wasi, Start, [], "Sets a file's times by its path." => wasi::no_file;
    PathLink "path_link" (Int("old_fd"), Int("old_flags"), Bytes("old_path"), Int("new_fd"), Bytes("new_path")) -> Errno;
        Files, Wasi, Start, [], "Makes a hard link." => wasi::no_file;
    PathOpen "path_open" (Int("fd"), Int("dir_flags"), Bytes("path"), Int("open_flags"), Long("rights"), Long("inheriting"), Int("fd_flags"), Out("opened")) -> Errno;
        Files, Wasi, Start, [], "Opens a file; there is none." => wasi::no_entry;
    PathReadlink "path_readlink" (Int("fd"), Bytes("path"), Int("buf"), Int("buf_len"), Out("used")) -> Errno;
        Files, Wasi, Start, [], "Reads a symbolic link." => wasi::no_file;
    PathRemoveDirectory "path_remove_directory" (Int("fd"), Bytes("path")) -> Errno;
        Files, Wasi, Start, [], "Removes a directory." => wasi::no_file;
    PathRename "path_rename" (Int("fd"), Bytes("old_path"), Int("new_fd"), Bytes("new_path")) -> Errno;
        Files, Wasi, Start, [], "Renames a file." => wasi::no_file;
    PathSymlink "path_symlink" (Bytes("old_path"), Int("fd"), Bytes("new_path")) -> Errno;
        Files, Wasi, Start, [], "Makes a symbolic link." => wasi::no_file;
    PathUnlinkFile "path_unlink_file" (Int("fd"), Bytes("path")) -> Errno;
        Files, Wasi, Start, [], "Removes a file." => wasi::no_file;
    PollOneoff "poll_oneoff" (Int("subscriptions"), Int("events"), Int("count"), Out("happened")) -> Errno;
        Time, Wasi, Everywhere, [], "Waits for events; succeeds at once with none." => wasi::poll_oneoff;
    ProcExit "proc_exit" (Int("code")) -> None;
        Process, Wasi, Everywhere, [], "Ends the guest." => wasi::proc_exit;
    ProcRaise "proc_raise" (Int("signal")) -> Errno;
        Process, Wasi, Start, [], "Sends a signal to the guest itself." => wasi::unavailable;
    RandomGet "random_get" (Int("buf"), Int("buf_len")) -> Errno;
        Random, Wasi, Start, [], "Gives random bytes, at most 65,536 at once." => wasi::random_get;
    SchedYield "sched_yield" () -> Errno;
        Process, Wasi, Everywhere, [], "Lets others run; there are none." => wasi::success;
    SockAccept "sock_accept" (Int("fd"), Int("flags"), Out("accepted")) -> Errno;
        Files, Wasi, Start, [], "Accepts a connection; there are no sockets." => wasi::no_socket;
    SockRecv "sock_recv" (Int("fd"), Int("iovs"), Int("iovs_len"), Int("flags"), Out("read"), Out("out_flags")) -> Errno;
        Files, Wasi, Start, [], "Receives from a socket; there are none." => wasi::no_socket;
    SockSend "sock_send" (Int("fd"), Int("iovs"), Int("iovs_len"), Int("flags"), Out("written")) -> Errno;
        Files, Wasi, Start, [], "Sends to a socket; there are none." => wasi::no_socket;
    SockShutdown "sock_shutdown" (Int("fd"), Int("how")) -> Errno;
        Files, Wasi, Start, [], "Shuts a socket down; there are none." => wasi::no_socket;
}
