//! Full disks: small file systems, filled by commits, then made read only.

use super::Findings;
use super::subject::said;
use crate::Sandbox;

/// Runs in a mount namespace of its own: `$1` the size of the tmpfs, `$2` its inodes, `$3` the bytes of each file.
///
/// Each line it prints is an event: `ack N`, `full CODE`, `status CODE`, `log CODE`, `said TEXT`.
const SCRIPT: &str = r#"
set -u
mkdir -p disk && mount -t tmpfs -o "size=$1,nr_inodes=$2" none disk || { echo "nomount"; exit 0; }
shard init disk/demo >/dev/null 2>init.err || { echo "noinit $(head -c 300 init.err | tr '\n' ' ')"; exit 0; }
cd disk/demo
n=0
while [ $n -lt 400 ]; do
    n=$((n + 1))
    # What fills the worktree itself is no failure of ours: then a small change is committed instead.
    if ! head -c "$3" /dev/urandom > "f$n" 2>/dev/null; then rm -f "f$n"; echo "$n" > small 2>/dev/null || true; fi
    shard commit -a -m "commit $n" >/dev/null 2>../../commit.err
    code=$?
    if [ $code -eq 0 ]; then echo "ack $n"; continue; fi
    # The worktree was too full to change at all.
    if [ $code -eq 4 ]; then echo "full 5"; else echo "full $code"; fi
    [ $code -eq 4 ] || [ $code -eq 5 ] || echo "said $(head -c 300 ../../commit.err | tr '\n' ' ')"
    break
done
check() {
    shard status >/dev/null 2>../../status.err; code=$?
    echo "status $code $1"; [ $code -eq 0 ] || echo "said $(head -c 300 ../../status.err | tr '\n' ' ')"
    shard --json log -n 1000 >../../log.json 2>../../log.err; code=$?
    echo "log $code $1"; [ $code -eq 0 ] || echo "said $(head -c 300 ../../log.err | tr '\n' ' ')"
    for m in $(seq 1 $((n - 1))); do
        grep -q "\"commit $m\"" ../../log.json || echo "lost $m $1"
    done
}
check full
mount -o remount,ro none ../../disk
check read-only
mount -o remount,rw none ../../disk
rm -f f1 f2 f3
mount -o "remount,size=64m,nr_inodes=20000" none ../../disk
echo roomy > roomy
shard commit -a -m "after" >/dev/null 2>../../commit.err; code=$?
echo "after $code"; [ $code -eq 0 ] || echo "said $(head -c 300 ../../commit.err | tr '\n' ' ')"
shard fsck --full >/dev/null 2>../../fsck.err; code=$?
echo "fsck $code"; [ $code -eq 0 ] || echo "said $(head -c 300 ../../fsck.err | tr '\n' ' ')"
cd ../.. && umount disk
"#;

/// Fills `sizes` file systems of growing size, half of them short of inodes instead of bytes.
///
/// # Errors
/// No namespace, or no tmpfs in it.
pub fn fill(sandbox: &Sandbox, sizes: u64) -> Result<Findings, String> {
    let mut findings = Findings::default();
    findings.count("disks filled", 0);
    for number in 0..sizes {
        let (kib, inodes) = if number % 2 == 0 { (3_072 + 512 * number, 10_000) } else { (40_000, 60 + 12 * number) };
        let name = format!("{kib} KiB, {inodes} inodes");
        let mut command = sandbox.command("ana", "unshare").map_err(|e| e.to_string())?;
        command.args([
            "-Urm",
            "sh",
            "-c",
            SCRIPT,
            "fill",
            &format!("{kib}k"),
            &inodes.to_string(),
            &(20_000 + 9_000 * (number % 5)).to_string(),
        ]);
        let output = said(Ok(command))?;
        findings.count("disks filled", 1);
        let text = String::from_utf8_lossy(&output.stdout);
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').collect();
            match words.as_slice() {
                ["nomount"] => return Err("no tmpfs can be mounted in the namespace".into()),
                ["ack", _] => findings.count("acknowledged", 1),
                // Too small for a repository at all, and said so.
                ["noinit", ..] => findings.count("too small for init", 1),
                ["full", "5"] | ["status" | "log" | "after" | "fsck", "0", ..] => {}
                _ => findings.violations.push(format!("{name}: {line}")),
            }
        }
    }
    Ok(findings)
}
