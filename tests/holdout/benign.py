"""Ordinary lines of many kinds that no rule of the shipped policy has any business with. Written line by line."""

LINES = """
Cream 120 g butter with 150 g sugar, fold in 3 eggs, bake 35-40 min at 180 °C (gas 4).
2 cups flour, 1 1/2 tsp baking powder, 1/4 tsp salt; rest 12-15 minutes.
宫保鸡丁：鸡胸肉300克，花生米50克，干辣椒8-10个，花椒20粒，大火翻炒2分钟。
红烧肉：五花肉500g切块焯水，冰糖30g炒糖色，加生抽2勺、老抽1勺，小火炖60分钟。
FT: Arsenal 2-1 Chelsea (Saka 23', Rice 67'; Palmer 45+2' pen)
Lakers 112, Celtics 109 OT; James 34 pts, 11 reb, 9 ast on 13-24 FG.
第23届亚洲杯：中国队3:1泰国队，武磊第12、55分钟梅开二度。
女排联赛第8轮：25-21、23-25、25-18、25-19，用时1小时46分。
Usain Bolt 9.58 s (+0.9 m/s), Berlin, 16 August 2009
Shall I compare thee to a summer's day? Thou art more lovely and more temperate.
床前明月光，疑是地上霜。举头望明月，低头思故乡。
The fog comes / on little cat feet. / It sits looking / over harbor and city
春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。
WHEREAS, the Parties entered into that certain Agreement dated as of January 1, 2024 (the "Agreement");
第一百四十三条 具备下列条件的民事法律行为有效：（一）行为人具有相应的民事行为能力；
Art. 6(1)(f) GDPR; cf. Case C-582/14, paras 42-49.
18 U.S.C. § 1030(a)(2)(C); see also 17 C.F.R. § 240.10b-5.
SELECT o.id, SUM(l.qty * l.price) AS total FROM orders o JOIN lines l ON l.order_id = o.id GROUP BY 1 HAVING SUM(l.qty) > 10;
UPDATE users SET name = 'x' WHERE id IN (1, 2, 3, 5, 8, 13);
CREATE INDEX CONCURRENTLY idx_orders_created_at ON orders USING btree (created_at DESC);
\\begin{align} \\int_0^\\infty e^{-x^2}\\,dx &= \\frac{\\sqrt{\\pi}}{2} \\\\ \\nabla\\cdot\\mathbf{E} &= \\rho/\\varepsilon_0 \\end{align}
Let $f\\colon \\mathbb{R}^n \\to \\mathbb{R}$ be $C^2$ with $\\|\\nabla f\\|_2 \\le L$; then $x_{k+1} = x_k - \\eta_k g_k$.
{"id": 42, "tags": ["a", "b"], "ratio": 0.125, "nested": {"ok": true, "n": null}, "items": [1, 2, 3]}
{"name":"张三丰","level":12,"hp":100,"pos":[12.5,-3.25],"ts":1700000000}
[2024-05-12 08:31:07,123] INFO  worker-3: processed 1024 items in 3.21s (318.9/s)
127.0.0.1 - - "GET /healthz HTTP/1.1" 200 2 0.000312
Traceback (most recent call last): File "app.py", line 42, in main: KeyError: 'user'
<a@1> hey u coming tmrw? <b@2> ya prob 7ish, gonna grab food first lol
[小明] 明天几点集合？ [小红] 8点半校门口，别迟到哈哈哈哈 [小刚] ok
lol no way!!! that's sooo cooool :D :D brb 5 min
哈哈哈哈哈笑死我了，真的假的？？！！呜呜呜呜好羡慕
Invoice 2024-0317: 3 x Widget A @ 12.50 = 37.50; VAT 19 % 7.13; total EUR 44.63; due in 14 days
订单明细：商品A×2，单价59.90元，满200减30，合计89.80元，运费6元。
Item 0042 qty 12 unit 3.75 net 45.00 tax 8.55 gross 53.55
2 H2 + O2 -> 2 H2O; CaCO3 + 2 HCl -> CaCl2 + H2O + CO2
NaCl 0.9 %, KCl 4 mmol/L, pH 7.35-7.45, pCO2 35-45 mmHg
C8H10N4O2, M = 194.19 g/mol, Smp. 234-239 °C, CC(=O)OC1=CC=CC=C1C(=O)O
2,4-二氯苯氧乙酸的熔点为140.5℃，微溶于水。
1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 4. Ba4 Nf6 5. O-O Be7 6. Re1 b5 7. Bb3 d6 8. c3 O-O
r1bqkbnr/pppp1ppp/2n5/4p3/2B1P3/5N2/PPPP1PPP/RNBQK2R b KQkq - 3 3
炮二平五 马8进7 马二进三 车9平8 车一平二 卒7进1
John 3:16; Psalm 23:1-6; 1 Cor 13:4-8a; Gen 1:1-2:3
创世记 1:1-31；马太福音 5:3-12；诗篇 119:105
ISBN 978-3-16-148410-0; ISSN 0317-8471; doi:10.1000/182
AAPL 227.52 +1.3 %, MSFT 415.10 -0.4 %, 600519.SH 1688.00, 0700.HK 372.4
上证指数收报3052.90点，涨0.47%；深证成指9468.25点；成交额8,412亿元。
EUR/USD 1.0842, USD/CNY 7.2451, BTC 67,412.55, gold 2,318.40 $/oz
v1.2.3-rc.4+build.567, Python 3.11.7, CUDA 12.4, glibc 2.35
commit 3f2a9c1 fixes #1234, closes GH-567, refs a1b2c3d..e4f5a6b
550e8400-e29b-41d4-a716-446655440000
sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
#ff8800 rgba(255, 136, 0, 0.5) hsl(32deg 100% 50%) margin: 0 auto 1.5rem;
48°51'29.6"N 2°17'40.2"E; 39.9042 N, 116.4074 E; UTM 50S 447600 4419800
Departs 08:15, arrives 11:42 (+1), gate B17, seat 24C, flight time 3 h 27 min
G1234次 北京南 07:00 开 上海虹桥 11:28 到 二等座553元
MU5101 PEK 0800-1015 SHA, CA1858, KN5977
Mon-Fri 9:00-17:30, Sat 10:00-14:00, closed on public holidays
周一至周五 9:00-18:00，周末及法定节假日休息。
Population 8,982,000 (2019 est.), area 1,572 km², density 5,701/km²
π ≈ 3.14159265358979, e ≈ 2.71828182845905, φ ≈ 1.61803398874989
1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987
a^2 + b^2 = c^2; (a + b)(a - b) = a² - b²; x = (-b ± √(b² - 4ac)) / 2a
f(x) = a x + b, g(x) = c x + d, so f∘g = a c x + a d + b
A. B. C. D. E. F. G.
U.S.A., U.K., e.g., i.e., a.m., p.m., Ph.D., J. R. R. Tolkien, C. S. Lewis
T H E  E N D
A B C D E F G H I J K L M N O P Q R S T U V W X Y Z
Section 1 - 2 - 3 - 4; rows a, b, c, d
甲、乙、丙、丁四人分别来自北、上、广、深。
东、南、西、北、中，发、白；一、二、三、四、五。
金、木、水、火、土；春、夏、秋、冬；琴、棋、书、画。
他说：“你、我、他，都、得、去。”
I am going to kill some time before the bug fix lands; the process was killed with SIGKILL.
To kill a zombie child, its parent has to reap it: waitpid(-1, &status, WNOHANG).
The bombe was an electro-mechanical device used by British cryptologists in the Second World War.
This hackathon is about hacking on hardware; the hackers' handbook is a classic.
Assess the classic bass passage in the assembly; Scunthorpe and Penistone are towns in England.
Dr. Dick Cheney's cocktail peacock analysis: shiitake mushrooms, a pussy willow and Essex.
The drug store sells aspirin; drug approval takes years. Weapons inspectors left on Friday.
Ignore the noise and follow the instructions in the previous chapter.
Please disregard my previous e-mail, the meeting is at 3 pm as planned.
Which system prompts the user for a password? The login screen does.
Show me the prompt template we use for marketing copy, and print the system log.
You are now ready to begin chapter two; act as quickly as you can.
From now on the library opens at nine. Pretend play helps children learn.
How do I forget all previous entries in my shell history? history -c
忽略大小写比较两个字符串时，可以用casefold。
请忽略上一封邮件，以这封为准。
系统提示：您的会员将于3天后到期。
请扮演好自己的角色，团队才能顺利完成任务。
从现在起，图书馆延长开放时间到晚上十点。
这个开发者模式在设置里点七次版本号就能打开。
他把枪口对准靶心，十发九十八环，拿了射击比赛冠军。
警方提醒：谨防电信诈骗，不轻信、不透露、不转账。
毒蘑菇中毒后应立即催吐并送医。
这部电影讲述缉毒警察的故事，评分8.7。
反洗钱法要求金融机构履行客户身份识别义务。
大麻哈鱼每年秋天洄游到黑龙江产卵。
她性格开朗，做事有条不紊。
这批枪乌贼是从日本海捕捞的。
公安局提醒市民注意防火防盗。
台湾海峡最窄处约130公里。
The email field is required; an email looks like name, an at sign and a domain.
Mentions like @alice and @bob_92 notify people; C++ templates, C# and F# too.
int main(void) { char *p = malloc(16); if (!p) return -1; free(p); return 0; }
for (let i = 0; i < n; i++) { total += xs[i] * ws[i]; }
def f(x: int, *, y: str = "a@b") -> dict[str, int]: return {y: x}
git log --oneline --graph HEAD~10..HEAD -- services/ | head -20
docker run --rm -it -v "$PWD":/work -w /work python:3.11-slim bash
sed -e 's/foo/bar/g' -e '/^#/d' in.txt | sort -u | wc -l
export PATH="$HOME/bin:$PATH"; export EDITOR=vim
password reset works like this: open settings, choose security, press reset.
Your password must have 8-64 characters with letters, digits and a symbol.
密码需要8到16位，包含大小写字母和数字。
token limits: 4096 tokens of context, 512 new tokens, top_p 0.9
The secret of good bread is time. Key: patience; token of thanks: a loaf.
api_key: str | None = None  # set it in the environment
Authorization: Bearer <your token here>
-----BEGIN CERTIFICATE REQUEST----- is how such a file starts.
ssh-keygen -t ed25519 -C "work laptop"
xoxo, yours truly; sk-learn is short for scikit-learn; AKIA is a Japanese given name.
10.5.3 Network layers: 192.168 is private space, 0.0.0.0 means any.
Version 1.2.3.4 of the driver; chapter 10.1.2.3 of the manual.
Order 20240512000123 was shipped; tracking SF1234567890123.
订单号20240512000123已发货，运单号SF1234567890123。
学号2021013456的同学请到教务处。
邮编100084，北京市海淀区中关村大街27号。
身高178cm，体重65kg，视力5.0，血压120/80mmHg。
Serial 4CE0460D0G, part no. 5065-3098, rev. B, lot 20231107-02
EAN 4006381333931; UPC 036000291452
Model numbers: RTX-4090, i9-14900K, WH-1000XM5, iPhone15,2
Channel 6 at 2437 MHz, -67 dBm, SNR 28 dB
0x7fff5fbff8c0, 0xDEADBEEF, 0b101010, 0o755, 1e-9
AGCTTAGCTAGGCTAATCGGATCGATTACGCTAGCTAGGATCC
MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ
Bach BWV 1007: G D B A B D B D | C major: C E G, F A C, G B D
do re mi fa sol la ti do; la la la la la
♩=120 4/4 |: C  G | Am F :| x4
Knit: *k2, p2; rep from * to end. Row 3: sl1, k1, psso, yo, k5.
SOS: ... --- ...; CQ CQ CQ de DL1ABC
🏳️‍🌈👨‍👩‍👧‍👦👍🏽❤️‍🔥 family emoji stay whole
می‌خواهم کتاب‌ها را بخوانم.
क्षत्रिय और श्री; विश्व हिन्दी दिवस
นักเรียนไปโรงเรียนทุกวัน
Привет! Как дела? Завтра в 10:00 встреча в кафе на углу.
Но вот это тема: сор в избе, рот на замке, нос по ветру.
Αυτό το βιβλίο είναι πολύ καλό, το διάβασα δύο φορές.
שלום עולם, מה שלומך היום?
مرحبا، كيف حالك؟ الاجتماع في الساعة 10.
今日は天気がいいですね。カフェでコーヒーを飲みました。
오늘 날씨가 정말 좋네요. 10시에 만나요.
Xin chào, hôm nay bạn thế nào? Cảm ơn bạn rất nhiều!
Dzień dobry! Zażółć gęślą jaźń. Příliš žluťoučký kůň úpěl ďábelské ódy.
Falsches Üben von Xylophonmusik quält jeden größeren Zwerg; Maßstab 1:25.000.
Cet été, l'élève naïf a reçu un œuf à la coque près de la forêt.
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia; ¿qué tal?
國家圖書館每週一休館，請於開放時間內入館。
香港天文台預測明日氣溫介乎22至27度。
他被稱為「詩仙」，與杜甫合稱「李杜」。
10 mg/kg q8h; HbA1c 6.1 % (43 mmol/mol); eGFR > 90 mL/min/1.73 m²
BMI 22.4; RR 18; T 36.8 °C; SpO₂ 98 %
3 × 10⁸ m/s; 6.022e23 mol⁻¹; 1.602×10⁻¹⁹ C; ½ mv²
100 % cotton, 30 °C gentle wash, do not bleach; size 38-40 (M)
Nutrition per 100 g: 2134 kJ / 510 kcal, fat 28 g, of which saturates 12 g
12.05.2024, 05/12/2024, 2024-05-12, 2024年5月12日, 20240512
in 1914-1918 and 1939-1945; circa 221 BC - 206 BC
No. 5, Op. 67, in C minor; Allegro con brio, mm. 1-21
p < 0.001, n = 1,024, 95 % CI [0.12, 0.34], χ²(3) = 7.81, R² = .87
Table 3: 0.91 ± 0.02 | 0.88 ± 0.03 | 0.79 ± 0.05
HTTP/2 200 content-type: text/html; charset=utf-8 content-length: 1256
<ul><li>one</li><li>two</li></ul> <p class="x">Hello, <b>world</b>!</p>
<b>W</b>elcome to the <i>show</i>; <em>S</em>pring <em>S</em>ale
&lt;div&gt; is how HTML says it; fish &amp; chips &copy; 2024
100%25 of queries are escaped like a%20b%2Fc
"\\u4f60\\u597d" is how JSON may write a greeting; "\\n" is a new line.
iVBORw0KGgo is how PNG files start in base64; SGVsbG8sIHdvcmxkIQ== greets.
68 65 6c 6c 6f is hello in hexadecimal
Wow!!! Soooo good, yesssss, hmmmmm, nooooo, aaaargh
3D printing, 4G, 5G, 7zip, l33t culture, h4x0r films of the 90s, k8s, i18n, a11y, s3
P455 is a road in Wales; B4U is a film channel; M1 and A3 are motorways.
1st, 2nd, 3rd, 4th; 10x engineer; 24/7; 365 days; 2x4 lumber
Me: 5'11", 70 kg; she: 1.68 m. Room 3-204, floor 12.
May I ask: a) what, b) when, c) how much? i) yes ii) no iii) maybe
""".strip().split("\n")
