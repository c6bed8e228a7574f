//! Tar archives in and out, and what changed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod support;

use std::sync::Arc;

use secure_exec_kernel::*;
use support::KernelFs;
use tar::{Builder, EntryType, Header};

const WRITE: i32 = oflag::O_WRONLY | oflag::O_CREAT | oflag::O_TRUNC;

fn machine() -> Arc<Kernel> {
    Kernel::new(KernelOptions::default()).unwrap()
}

fn put(k: &Kernel, path: &str, text: &[u8]) {
    k.write_file(k.host(), path.as_bytes(), text, WRITE, 0o644)
        .unwrap();
}

fn text(k: &Kernel, path: &str) -> Result<Vec<u8>> {
    Ok(k.read_file(k.host(), path.as_bytes(), 1 << 30)?.into_vec())
}

fn export(k: &Kernel, root: &str) -> Vec<u8> {
    let mut out = Vec::new();
    k.export_tar(root.as_bytes(), ExportOptions::default(), &mut out)
        .unwrap();
    out
}

fn raw(kind: EntryType, name: &[u8], link: &[u8], data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn fill(k: &Kernel) {
    let h = k.host();
    k.mkdir_recursive(h, b"/t/d/e", 0o755).unwrap();
    put(k, "/t/d/file", b"contents");
    put(k, "/t/empty", b"");
    put(k, "/t/block", &[7; 512]);
    k.chmod(h, b"/t/d/file", 0o4751).unwrap();
    k.chmod(h, b"/t/d", 0o700).unwrap();
    k.symlink(h, b"../x//./y", b"/t/d/e/link").unwrap();
    k.symlink(h, &b"long/".repeat(40), b"/t/longlink").unwrap();
    k.link(h, b"/t/d/file", b"/t/second").unwrap();
    let long = format!("/t/{}/{}", "n".repeat(200), "m".repeat(255));
    k.mkdir_recursive(h, long.as_bytes(), 0o755).unwrap();
    put(k, &format!("{long}/deep"), b"deep");
    put(k, "/t/not-utf8", b"");
    k.rename(h, b"/t/not-utf8", b"/t/\xff\xfe").unwrap();
    let fd = k.open(h, b"/t/sparse", WRITE, 0o644).unwrap();
    k.write(h, fd, b"end", Some(300_000)).unwrap();
    k.close(h, fd).unwrap();
}

#[test]
fn what_goes_out_comes_in_again() {
    let k = machine();
    fill(&k);
    let archive = export(&k, "/t");
    assert_eq!(
        archive,
        export(&k, "/t/../t/"),
        "the same tree, the same bytes"
    );
    let image = Image::empty()
        .tar(&archive[..], TarLimits::default())
        .unwrap()
        .build();
    let again = machine();
    again
        .mount(b"/t", MountSource::Image(image), MountOptions::default())
        .unwrap();
    let h = again.host();
    assert_eq!(text(&again, "/t/d/file").unwrap(), b"contents");
    assert_eq!(again.stat(h, b"/t/d/file").unwrap().permissions(), 0o4751);
    assert_eq!(again.stat(h, b"/t/second").unwrap().nlink, 2);
    assert_eq!(again.readlink(h, b"/t/d/e/link").unwrap(), b"../x//./y");
    assert_eq!(again.stat(h, b"/t/sparse").unwrap().size, 300_003);
    assert_eq!(export(&again, "/t"), archive);
    // Over a file system of the embedder's, and copied on write, it is the same.
    for source in [
        MountSource::Foreign(KernelFs::new(k.clone(), "/t")),
        MountSource::CopyOnWrite(KernelFs::new(k.clone(), "/t")),
    ] {
        let over = machine();
        over.mount(b"/t", source, MountOptions::default()).unwrap();
        assert_eq!(export(&over, "/t"), archive);
        // What is mounted inside is the embedder's own.
        assert!(!String::from_utf8_lossy(&export(&over, "/")).contains("t/d/file"));
    }
}

#[test]
fn a_whole_machine_is_restored() {
    let k = machine();
    fill(&k);
    k.mount(b"/t/m", MountSource::Memory, MountOptions::default())
        .unwrap();
    put(&k, "/t/m/inside", b"memory mount");
    put(&k, "/etc/hosts", b"changed");
    let archive = export(&k, "/");
    let image = Image::builder()
        .tar(&archive[..], TarLimits::default())
        .unwrap()
        .build();
    let again = Kernel::new(KernelOptions {
        image: Some(image),
        ..KernelOptions::default()
    })
    .unwrap();
    assert_eq!(text(&again, "/t/d/file").unwrap(), b"contents");
    assert_eq!(text(&again, "/t/m/inside").unwrap(), b"memory mount");
    assert_eq!(text(&again, "/etc/hosts").unwrap(), b"changed");
    assert!(again.stat(again.host(), b"/proc/version").is_ok());
    assert!(again.stat(again.host(), b"/dev/null").is_ok());
    assert_eq!(export(&again, "/"), archive);
    assert_eq!(again.usage(), Usage::default());
}

#[test]
fn times_go_along_when_asked() {
    let k = machine();
    put(&k, "/f", b"");
    let at = TimeSpec::from_nanos(1_234_567_890_000_000_000);
    k.utimes(k.host(), b"/f", Some(at), Some(at)).unwrap();
    let options = ExportOptions {
        times: true,
        ..ExportOptions::default()
    };
    let mut archive = Vec::new();
    k.export_tar(b"/", options, &mut archive).unwrap();
    let image = Image::builder()
        .tar(&archive[..], TarLimits::default())
        .unwrap()
        .build();
    let again = Kernel::new(KernelOptions {
        image: Some(image),
        ..KernelOptions::default()
    })
    .unwrap();
    assert_eq!(again.stat(again.host(), b"/f").unwrap().mtime, at);
}

#[test]
fn hostile_archives() {
    let try_tar = |bytes: &[u8]| -> std::result::Result<Arc<Image>, TarError> {
        let limits = TarLimits {
            bytes: 1 << 20,
            entries: 100,
        };
        Ok(Image::builder().tar(bytes, limits)?.build())
    };
    let file = EntryType::Regular;
    for name in [&b"../x"[..], b"a/../../x", b"..", b"a/.."] {
        let error = try_tar(&raw(file, name, b"", b"x")).unwrap_err();
        assert!(
            matches!(
                error,
                TarError::Entry {
                    errno: Errno::EINVAL,
                    ..
                }
            ),
            "{error}"
        );
    }
    // Absolute names are the image's own.
    let image = try_tar(&raw(file, b"//etc/./passwd", b"", b"mine")).unwrap();
    let k = Kernel::new(KernelOptions {
        image: Some(image),
        ..KernelOptions::default()
    })
    .unwrap();
    assert_eq!(text(&k, "/etc/passwd").unwrap(), b"mine");
    // Nothing is written through a link.
    let mut through = raw(EntryType::Symlink, b"l", b"/etc", b"");
    through.extend(raw(file, b"l/hosts", b"", b"x"));
    assert!(matches!(
        try_tar(&through),
        Err(TarError::Entry {
            errno: Errno::ENOTDIR,
            ..
        })
    ));
    // Hard links: to nothing, to directories, out, to themselves; and a name that is replaced leaves the other alone.
    for link in [
        &b"nothing"[..],
        b"etc",
        b"../../etc/passwd",
        b"",
        b"a",
        b"dev/null",
        b"proc",
    ] {
        assert!(
            try_tar(&raw(EntryType::Link, b"a", link, b"")).is_err(),
            "{link:?}"
        );
    }
    let mut linked = raw(file, b"one", b"", b"1");
    linked.extend(raw(EntryType::Link, b"two", b"one", b""));
    linked.extend(raw(file, b"two", b"", b"2"));
    let image = try_tar(&linked).unwrap();
    let k = Kernel::new(KernelOptions {
        image: Some(image),
        ..KernelOptions::default()
    })
    .unwrap();
    assert_eq!(
        (text(&k, "/one").unwrap(), text(&k, "/two").unwrap()),
        (b"1".to_vec(), b"2".to_vec())
    );
    assert_eq!(k.stat(k.host(), b"/one").unwrap().nlink, 1);
    // Devices and pipes are passed over; what the machine has stays what it is.
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        let image = try_tar(&raw(kind, b"dev/mem", b"", b"")).unwrap();
        let k = Kernel::new(KernelOptions {
            image: Some(image),
            ..KernelOptions::default()
        })
        .unwrap();
        assert_eq!(k.stat(k.host(), b"/dev/mem"), Err(Errno::ENOENT));
    }
    assert!(try_tar(&raw(file, b"proc", b"", b"x")).is_err());
    assert!(try_tar(&raw(file, b"proc/self", b"", b"x")).is_err());
    assert!(try_tar(&raw(file, b"dev/null", b"", b"x")).is_err());
    assert!(try_tar(&raw(file, b"etc", b"", b"x")).is_err());
    assert!(try_tar(&raw(EntryType::Directory, b"etc/x/y/z", b"", b"")).is_ok());
    // Sizes: more than the limit, more than there is, and far more than there is.
    let big = raw(file, b"big", b"", &vec![0; (1 << 20) + 1]);
    assert!(matches!(try_tar(&big), Err(TarError::TooLarge("bytes", _))));
    for size in [600, 1 << 30, u64::MAX >> 2] {
        let mut lying = Header::new_gnu();
        lying.set_size(size);
        lying.set_mode(0);
        lying.set_mtime(0);
        lying.set_path("x").unwrap();
        lying.set_cksum();
        let mut bytes = lying.as_bytes().to_vec();
        bytes.extend([1; 100]);
        assert!(try_tar(&bytes).is_err(), "{size}");
    }
    let many: Vec<u8> = (0..101)
        .flat_map(|n| raw(file, format!("f{n}").as_bytes(), b"", b""))
        .collect();
    assert!(matches!(
        try_tar(&many),
        Err(TarError::TooLarge("entries", 100))
    ));
    // Names too long for the tree, through the extensions that allow them.
    for name in ["n".repeat(256), "d/".repeat(3000)] {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_mtime(0);
        builder.append_data(&mut header, &name, &[][..]).unwrap();
        assert!(try_tar(&builder.into_inner().unwrap()).is_err());
    }
    // Noise, and every archive cut short, is an error or less of the archive, never a panic.
    assert!(try_tar(&[0xff; 2048]).is_err());
    let k = machine();
    fill(&k);
    let whole = export(&k, "/t");
    for cut in (0..whole.len().min(20_000)).step_by(97) {
        let _ = try_tar(&whole[..cut]);
    }
}

#[test]
fn exports_are_bounded() {
    let k = machine();
    fill(&k);
    let limits = TarLimits {
        bytes: 100,
        entries: 1 << 20,
    };
    let options = ExportOptions {
        limits,
        ..ExportOptions::default()
    };
    let result = k.export_tar(b"/t", options, &mut Vec::new());
    assert!(matches!(result, Err(TarError::TooLarge("bytes", 100))));
    let limits = TarLimits {
        bytes: 1 << 30,
        entries: 3,
    };
    let options = ExportOptions {
        limits,
        ..ExportOptions::default()
    };
    let result = k.export_tar(b"/t", options, &mut Vec::new());
    assert!(matches!(result, Err(TarError::TooLarge("entries", 3))));
    let mut full = [0; 100];
    assert!(matches!(
        k.export_tar(b"/t", ExportOptions::default(), &mut &mut full[..]),
        Err(TarError::Io(_))
    ));
    assert!(
        k.export_tar(b"/t/d/file", ExportOptions::default(), &mut Vec::new())
            .is_err()
    );
    assert!(
        k.export_tar(b"/nothing", ExportOptions::default(), &mut Vec::new())
            .is_err()
    );
}

fn paths(paths: Vec<Vec<u8>>) -> Vec<String> {
    paths
        .into_iter()
        .map(|p| String::from_utf8(p).unwrap())
        .collect()
}

#[test]
fn changes() {
    let k = machine();
    let h = k.host();
    k.mkdir_recursive(h, b"/w/d/e", 0o755).unwrap();
    put(&k, "/w/d/f", b"1");
    put(&k, "/w/d/e/g", b"1");
    put(&k, "/w/same", b"1");
    let one = k.mark();
    assert_eq!(k.changes_since(one), Changes::default());
    put(&k, "/w/d/f", b"2");
    put(&k, "/w/new", b"3");
    k.unlink(h, b"/w/same").unwrap();
    let changes = k.changes_since(one);
    assert_eq!(paths(changes.changed.clone()), ["/w", "/w/d/f", "/w/new"]);
    assert_eq!(paths(changes.removed), ["/w/same"]);
    assert!(!changes.incomplete);

    let mut archive = Vec::new();
    k.export_paths(&changes.changed, ExportOptions::default(), &mut archive)
        .unwrap();
    let image = Image::empty()
        .tar(&archive[..], TarLimits::default())
        .unwrap()
        .build();
    let again = machine();
    again
        .mount(b"/r", MountSource::Image(image), MountOptions::default())
        .unwrap();
    assert_eq!(text(&again, "/r/w/d/f").unwrap(), b"2");
    assert_eq!(text(&again, "/r/w/same"), Err(Errno::ENOENT));

    let two = k.mark();
    k.rename(h, b"/w/d", b"/w/moved").unwrap();
    k.chmod(h, b"/etc/hosts", 0o600).unwrap();
    k.mount(b"/w/m", MountSource::Memory, MountOptions::default())
        .unwrap();
    put(&k, "/w/m/in-mount", b"");
    let changes = k.changes_since(two);
    assert_eq!(paths(changes.removed), ["/w/d"]);
    assert_eq!(
        paths(changes.changed),
        [
            "/etc/hosts",
            "/w",
            "/w/m",
            "/w/m/in-mount",
            "/w/moved",
            "/w/moved/e",
            "/w/moved/e/g",
            "/w/moved/f"
        ]
    );
    assert_eq!(k.changes_since(k.mark()), Changes::default());

    let three = k.mark();
    for n in 0..3000 {
        let path = format!("/w/{n}-{}/{}", "x".repeat(200), "y".repeat(250)).into_bytes();
        let long = format!("/w/{n}-{}", "x".repeat(200)).into_bytes();
        k.mkdir_recursive(h, &path, 0o755).unwrap();
        k.remove_all(h, &long).unwrap();
    }
    assert!(!k.changes_since(three).incomplete);
    for n in 0..12_000 {
        let path = format!("/w/{n}-{}", "z".repeat(240)).into_bytes();
        for _ in 0..2 {
            k.mkdir(h, &path, 0o755).unwrap();
            k.rmdir(h, &path).unwrap();
        }
    }
    assert!(!k.changes_since(three).changed.is_empty());
    for n in 0..6_000 {
        let path = format!("/w/{n}+{}", "z".repeat(240)).into_bytes();
        k.mkdir(h, &path, 0o755).unwrap();
        k.rmdir(h, &path).unwrap();
    }
    assert!(k.changes_since(three).incomplete);
    assert!(!k.changes_since(k.mark()).incomplete);
}

#[test]
fn changes_over_a_base() {
    let base = machine();
    fill(&base);
    let k = machine();
    let h = k.host();
    let source = MountSource::CopyOnWrite(KernelFs::new(base, "/t"));
    k.mount(b"/t", source, MountOptions::default()).unwrap();
    let mark = k.mark();
    put(&k, "/t/empty", b"no more");
    k.unlink(h, b"/t/block").unwrap();
    let changes = k.changes_since(mark);
    assert!(paths(changes.changed).contains(&"/t/empty".to_owned()));
    assert!(paths(changes.removed).contains(&"/t/block".to_owned()));
    assert!(!changes.incomplete);
    k.rename(h, b"/t/d", b"/t/dd").unwrap();
    assert!(
        k.changes_since(mark).incomplete,
        "what is underneath moved along"
    );
}

/// A machine that starts from these archives, one over the other.
fn restored(archives: &[&[u8]]) -> Arc<Kernel> {
    let mut builder = Image::builder();
    for archive in archives {
        builder.tar(*archive, TarLimits::default()).unwrap();
    }
    Kernel::new(KernelOptions {
        image: Some(builder.build()),
        ..KernelOptions::default()
    })
    .unwrap()
}

fn increment(k: &Kernel, since: Mark) -> Vec<u8> {
    let mut archive = Vec::new();
    k.export_changes(since, ExportOptions::default(), &mut archive)
        .unwrap();
    archive
}

#[test]
fn a_base_and_its_increments_make_the_same_machine() {
    let k = machine();
    let h = k.host();
    fill(&k);
    k.mkdir_recursive(h, b"/w/d/e", 0o755).unwrap();
    for name in ["a", "b", "same", "becomes-dir", "d/f", "d/e/g", "replaced"] {
        put(&k, &format!("/w/{name}"), name.as_bytes());
    }
    k.link(h, b"/w/a", b"/w/a2").unwrap();
    k.mkdir(h, b"/w/becomes-file", 0o755).unwrap();
    put(&k, "/w/becomes-file/inside", b"");
    let one = k.mark();
    let base = export(&k, "/");
    let nothing = increment(&k, one);
    assert!(nothing == [0; 1024]);

    put(&k, "/w/a", b"through both names");
    put(&k, "/w/d/f", b"new");
    k.unlink(h, b"/w/b").unwrap();
    k.unlink(h, b"/w/becomes-dir").unwrap();
    k.mkdir(h, b"/w/becomes-dir", 0o700).unwrap();
    put(&k, "/w/becomes-dir/inside", b"1");
    k.remove_all(h, b"/w/becomes-file").unwrap();
    put(&k, "/w/becomes-file", b"file");
    k.unlink(h, b"/w/replaced").unwrap();
    k.symlink(h, b"a", b"/w/replaced").unwrap();
    k.rmdir(h, b"/opt").unwrap();
    k.remove_all(h, b"/t").unwrap();
    let two = k.mark();
    let first = increment(&k, one);
    assert!(first == increment(&k, one), "the same bytes");

    k.rename(h, b"/w/d", b"/w/moved").unwrap();
    k.rename(h, b"/w/becomes-file", b"/w/same").unwrap();
    k.unlink(h, b"/w/a2").unwrap();
    k.mount(b"/w/m", MountSource::Memory, MountOptions::default())
        .unwrap();
    put(&k, "/w/m/in-mount", b"m");
    let other = machine();
    other.mkdir(other.host(), b"/base", 0o755).unwrap();
    put(&other, "/base/x", b"");
    let cow = MountSource::CopyOnWrite(KernelFs::new(other, "/base"));
    k.mount(b"/w/cow", cow, MountOptions::default()).unwrap();
    put(&k, "/w/cow/y", b"the embedder's");
    k.unlink(h, b"/w/cow/x").unwrap();
    let second = increment(&k, two);

    let whole = export(&k, "/");
    let again = restored(&[&base, &first, &second]);
    assert!(export(&again, "/") == whole);
    assert_eq!(text(&again, "/w/a").unwrap(), b"through both names");
    assert_eq!(text(&again, "/w/same").unwrap(), b"file");
    assert_eq!(
        again.stat(again.host(), b"/w/a").map(|stat| stat.nlink),
        Ok(1)
    );
    assert_eq!(again.stat(again.host(), b"/opt"), Err(Errno::ENOENT));
    // Two steps at once are the same as one after the other, and a mark stays good after a later one was asked about.
    assert!(export(&restored(&[&base, &increment(&k, one)]), "/") == whole);
    assert_eq!(again.usage(), Usage::default());
}

#[test]
fn an_increment_of_which_not_all_is_known_holds_everything() {
    let k = machine();
    let h = k.host();
    put(&k, "/gone", b"");
    let base = export(&k, "/");
    let mark = k.mark();
    k.unlink(h, b"/gone").unwrap();
    for n in 0..20_000 {
        let path = format!("/{n}-{}", "z".repeat(240)).into_bytes();
        k.mkdir(h, &path, 0o755).unwrap();
        k.rmdir(h, &path).unwrap();
    }
    put(&k, "/new", b"n");
    let later = increment(&k, mark);
    let again = restored(&[&base, &later]);
    assert_eq!(text(&again, "/gone"), Err(Errno::ENOENT));
    assert!(export(&again, "/") == export(&k, "/"));
    assert!(again.stat(again.host(), b"/dev/null").is_ok());
    assert!(again.stat(again.host(), b"/proc/version").is_ok());
}

#[test]
fn what_goes_is_never_the_machines() {
    let mut archive = Vec::new();
    for name in [
        "dev",
        "proc",
        "dev/null",
        "not/there",
        "etc/hosts/x",
        "../etc",
        "bin/..",
    ] {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Char);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(0);
        header.set_mode(0);
        header.set_mtime(0);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        header.set_cksum();
        if name.contains("..") {
            assert!(
                Image::builder()
                    .tar(&header.as_bytes()[..], TarLimits::default())
                    .is_err()
            );
        } else {
            archive.extend_from_slice(header.as_bytes());
        }
    }
    let k = restored(&[&archive]);
    assert!(k.stat(k.host(), b"/dev/null").is_ok());
    assert!(k.stat(k.host(), b"/proc/self").is_ok());
    assert!(k.stat(k.host(), b"/dev/fd").is_err());
}
