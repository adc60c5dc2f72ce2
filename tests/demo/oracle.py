"""The answers that do not come from svmd: grep, and what the kernel says of the daemon's files."""
import concurrent.futures
import os
import random
import re
import string
import subprocess


def grep(word, directory, user):
    """(lines that have the word, files that have it, files read, whether any could not be), by grep itself."""
    identity = {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}
    done = subprocess.run(["grep", "-rwch", "-e", word, directory], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, **identity,
                          env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "/usr/bin:/bin")})
    counts = [int(line) for line in done.stdout.split()]
    return sum(counts), sum(1 for count in counts if count), len(counts), done.returncode > 1


class Grep:
    """A grep a word, as many at once as there are processors, while the demo goes on; `user` is (uid, gid)."""

    def __init__(self, words, directory, user=None):
        self.pool = concurrent.futures.ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)))
        self.running = {word: self.pool.submit(grep, word, directory, user) for word in words}

    def results(self, progress):
        for count, _ in enumerate(concurrent.futures.as_completed(self.running.values()), 1):
            progress(count, len(self.running))
        return {word: future.result() for word, future in self.running.items()}

    def stop(self):
        self.pool.shutdown(wait=True, cancel_futures=True)


def choose_words(known, count, seed):
    """`count` words from a dictionary of word -> lines: most from anywhere, many from the frequent ones, and at least
    a twentieth that the text does not have, half of them parts of words that it has."""
    chance = random.Random(seed)
    usable = sorted(word for word in known if len(word) <= 100)
    frequent = sorted(usable, key=lambda word: (-known[word], word))[:max(1, len(usable) // 50)]
    chosen = set(chance.sample(frequent, min(len(frequent), count * 3 // 10)))
    anywhere = chance.sample(usable, min(len(usable), count))
    for word in anywhere:
        if len(chosen) < count * 19 // 20:
            chosen.add(word)
    parts = [word[:-1] for word in chance.sample(usable, min(len(usable), count)) if len(word) > 3]
    absent = [word for word in dict.fromkeys(parts) if word not in known][:count // 40]
    while len(chosen) + len(absent) < count:
        word = "".join(chance.choices(string.ascii_letters + string.digits + "_", k=12))
        if word not in known and word not in absent:
            absent.append(word)
    present = sorted(chosen)
    chance.shuffle(present)
    # Readers take turns, so of two that stand side by side each gets one: none is left with absent words alone.
    words = present + absent
    pairs = [words[i:i + 2] for i in range(0, count, 2)]
    chance.shuffle(pairs)
    return [word for pair in pairs for word in pair], len(absent)


def file_bytes(pid):
    """Bytes that the machine gave to each memfd of a process: {name: bytes}, files of one name together."""
    folder, seen, sizes = f"/proc/{pid}/fd", set(), {}
    for fd in os.listdir(folder):
        try:
            target = os.readlink(f"{folder}/{fd}")
            stat = os.stat(f"{folder}/{fd}")
        except FileNotFoundError:
            continue
        match = re.fullmatch(r"/memfd:(.*) \(deleted\)", target)
        if match and stat.st_ino not in seen:
            seen.add(stat.st_ino)
            sizes[match[1]] = sizes.get(match[1], 0) + stat.st_blocks * 512
    return sizes


def available_memory():
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))


def text_size(directory):
    """Bytes of the regular files under a folder."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                total += os.path.getsize(path)
    return total
