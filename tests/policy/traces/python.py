import random
r = random.Random(1)
table = {i: str(i) * 4 for i in range(60000)}
words = [r.choice(range(60000)) for _ in range(40000)]
total = 0
for i in range(24000):
    k = words[int(len(words) * r.random() ** 3)] if i % 3 else r.randrange(60000)
    total += len(table[k])
    if i % 10 == 0:
        table[k] = "x" * (i % 50)
print(total)
