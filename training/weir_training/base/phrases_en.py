# ruff: noqa: E501 - an entry of a table is a line
"""Slot data of the English dialogues; same tables as in `phrases_zh`."""

ACTIONS = """
return an item: return an item | send an item back | give it back | return something | bring back a product | hand back my purchase | return this | send back what I bought
exchange an item: exchange an item | swap it | get another size | change the product | get a replacement
get a refund: get a refund | get my money back | be refunded | be paid back | receive my refund | have the money returned
cancel an order: cancel an order | cancel my order | stop the order | undo my purchase | call off the order | withdraw my order | take back the order
change an order: change an order | edit my order | add something to my order | alter the order
track a parcel: track a parcel | follow my package | see where my parcel is | trace my shipment | check my delivery | locate my order | know where my package is
change the address: change the address | use another address | update my address | send it somewhere else | correct the delivery address
reset the password: reset the password | change my password | get a new password | recover my password | set another password | replace the password
sign in: sign in | log in | get into my account | access my account | open my account | enter the site
register: register | create an account | sign up | open an account | make an account
close the account: close the account | delete my account | remove my profile | erase my data | cancel my account
pay: pay | settle the bill | make a payment | check out | complete the purchase
pay in parts: pay in parts | pay by instalments | pay monthly | pay later
become a member: become a member | join | join the club | sign up as a member | get a membership | enrol | join the programme
use a gift card: use a gift card | spend a voucher | redeem a gift card | use my gift voucher | pay with a gift card | apply a voucher
use a coupon: use a coupon | apply a discount code | redeem a promo code | enter my code
get an invoice: get an invoice | download the invoice | receive a bill | get a receipt | print the invoice | have a bill sent | find my receipt
contact support: contact support | reach customer service | talk to a person | speak to somebody | call the help desk | chat with an agent | phone you
complain: complain | make a complaint | report a problem | give feedback
repair an item: repair an item | have it fixed | get it mended | fix the broken part | have my gear repaired
wash a jacket: wash a jacket | clean my jacket | launder the coat | get a coat clean | care for my coat | remove dirt from a jacket
dry clothes: dry clothes | use the dryer | tumble dry it | dry the coat
order abroad: order abroad | order from another country | have it shipped abroad | get an overseas delivery | buy from outside the country | order internationally
buy in bulk: buy in bulk | order a large quantity | place a group order | buy for a company
choose a size: choose a size | find my size | pick the right size | know which size to take
try things on: try things on | try the shoes | test it in a shop | see it in person
collect an order: collect an order | pick up my parcel | fetch the order myself | use click and collect
book a room: book a room | reserve a room | make a reservation | get a room
check in: check in | arrive at the hotel | get my key
check out late: check out late | leave later | keep the room longer
book a ticket: book a ticket | buy a ticket | get a seat | reserve a ticket
change a ticket: change a ticket | take another train | move my trip | rebook
borrow a book: borrow a book | take a book home | loan a book
renew a loan: renew a loan | keep a book longer | extend a loan
see a doctor: see a doctor | make an appointment | book a visit | get a consultation
transfer money: transfer money | send money | wire money | move funds
block a card: block a card | report a lost card | stop my bank card | freeze my card
park a car: park a car | leave my car | find a parking space
join a course: join a course | enrol in a class | take lessons | sign up for a class
renew a contract: renew a contract | extend my subscription | continue my plan
end a subscription: end a subscription | stop my plan | unsubscribe | quit the subscription
install the app: install the app | set up the app | get the app | put the app on my phone
rent a bike: rent a bike | hire a bicycle | borrow a bike
order food: order food | get a meal | have dinner delivered
"""

THINGS = """
delivery time: delivery time | shipping time | delivery | arrival of my order | delivery date | transit time | arrival
delivery cost: delivery cost | shipping cost | postage | delivery fee | shipping fee | shipping price | delivery charge | postage cost | shipping charge
refund: refund | repayment | money back | reimbursement | refunded money
return period: return period | time to return | returns policy | return policy | returns | right of return
return label: return label | label for sending back | returns sticker
warranty: warranty | guarantee | warranty period | cover for defects | guarantee period | product guarantee
invoice: invoice | bill | receipt | invoice copy | proof of purchase
parcel: parcel | package | order | shipment | delivery | stuff | box
tracking number: tracking number | tracking code | shipment number | tracking link
password: password | passcode | login password | secret word
account: account | profile | login | user account
membership: membership | club | club card | member programme | loyalty programme
member discount: member discount | discount for members | club discount | member price | benefits of members
gift card: gift card | gift voucher | voucher | gift certificate
coupon: coupon | discount code | promo code
payment method: payment method | way to pay | payment option | means of payment | kind of payment
credit card: credit card | Visa card | Mastercard | bank card
size: size | fit | sizing | size chart
stock: stock | availability | items in stock
price: price | cost | amount | total
shop: shop | store | branch | outlet | retail store
opening hours: opening hours | business hours | opening times | hours
support: support | customer service | help desk | help line | agents
countries: countries | destinations | foreign countries | shipping countries | other countries
washing: washing | cleaning | care | laundry | washing instructions | cleaning instructions
tent: tent | shelter | camping tent
backpack: backpack | rucksack | bag
jacket: jacket | coat | down jacket | down coat | parka
boots: boots | shoes | hiking shoes
room: room | bedroom | double room
breakfast: breakfast | morning meal
ticket: ticket | train ticket | pass
parking: parking | car park | parking space
course: course | class | lesson
library card: library card | reader card
prescription: prescription | medicine | drug
interest: interest | interest rate
bus: bus | shuttle | coach
flight: flight | plane
luggage: luggage | suitcase | baggage
"""

ACTION_ASKS = """
way: how do I {x} | how can I {x} | how to {x} | I want to {x} | I would like to {x} | {x} | what must I do to {x} | please help me to {x} | tell me how to {x} | steps to {x} | I need to {x} | can you help me {x} | what is the best way to {x} | is there a way to {x} | I'd like to {x}, how does that work | how should I {x} | trying to {x} | want to {x}
permission: can I {x} | may I {x} | is it possible to {x} | am I allowed to {x} | could I {x} | can I still {x} | is it OK to {x} | do you let people {x} | is it too late to {x} | do you allow me to {x}
place: where can I {x} | where do I {x} | on which page can I {x} | where is the button to {x} | where should I go to {x}
time: how long does it take to {x} | when can I {x} | until when can I {x} | how many days do I have to {x} | how soon can I {x} | how long do I have to {x} | by when must I {x}
cost: what does it cost to {x} | is it free to {x} | do I have to pay to {x} | how much is it to {x} | is there a fee to {x}
terms: what do I need to {x} | what are the rules to {x} | who can {x} | what happens when I {x} | under which conditions can I {x} | what do I get if I {x}
failure: I cannot {x} | I can't {x} | why can't I {x} | it does not let me {x} | unable to {x} | I am not able to {x} any more | I tried to {x} but it failed
"""

THING_ASKS = """
amount: how much is the {x} | what is the {x} | what does the {x} cost | is the {x} free | do you charge for {x} | do I have to pay for {x} | price of the {x} | how high is the {x} | what do you charge for {x} | why was I charged for {x} | from which amount is {x} free | {x} price
duration: how long is the {x} | how long does the {x} take | how many days is the {x} | how long is the {x} valid | when does the {x} expire | how many years of {x} | until when is the {x} valid | does the {x} run out | how fast is the {x} | is the {x} quick | how long do I have to wait for the {x}
moment: when is the {x} | when do I get the {x} | when will my {x} come | when does the {x} start | how soon is the {x} | my {x} has not come yet | still waiting for my {x} | my {x} is late
place: where is my {x} | where can I find the {x} | where do I find the {x} | I can't find my {x} | I'm missing my {x} | where is the {x} | find {x} | looking for the {x} | show me the {x}
existence: do you have a {x} | is there a {x} | do I get a {x} | do you offer {x} | are there {x} for me | I need a {x} | can I have the {x} | can you send me the {x} | {x} please | need the {x}
facts: {x} | what is covered by the {x} | tell me about the {x} | {x} information | what about the {x} | which {x} do you have | what are the benefits of the {x} | explain the {x} | question about {x} | I want to know about the {x} | what kind of {x} | does the {x} work
trouble: my {x} is broken | the {x} is wrong | I forgot my {x} | I lost my {x} | problem with the {x} | the {x} does not work | I have not received my {x} | my {x} is dirty | something is wrong with my {x}
"""

SCENES = """
return an item: it does not fit me | not what I expected | the colour is nothing like the picture | I bought the wrong thing | I have no use for it after all | my wife does not like it | am I stuck with it | do you take things back | not happy with what I bought
get a refund: the money is not on my bank account | you got the shoes back but I got nothing | you owe me money | when will you pay me back | how is the money paid | the amount has not been returned to my card
cancel an order: please do not ship it | I clicked buy by accident | I bought it twice | I no longer need what I ordered | forget my order | stop it before it leaves | I don't need it now
delivery time: how many days will it take | will I have it by Monday | when will it be here | how quickly do you send things | I need it before the weekend | when does it arrive | days until it gets here | will it come tomorrow
delivery cost: do I pay extra for having it sent | is sending it included | how much must I buy so that sending is free | does it cost extra to ship | what do I pay for sending | minimum spend for free sending
track a parcel: nothing has arrived | it should be here by now | it still hasn't come | the driver did not come | has it left yet | is my stuff on the way
reset the password: I don't remember my login | the site won't accept what I type | it keeps telling me wrong login | locked out | I am shut out of my profile | can't remember the secret word
warranty: the zip broke after some months | it fell apart | a seam opened after one winter | is a broken part covered | who pays when it breaks | it is leaking after a year | what if it breaks
invoice: my company wants a paper for the tax | accounting needs a document | I need it for my tax return | proof that I paid | my employer pays for it and wants a paper | a PDF of what I paid
countries: I live in Poland | I am in Portugal, do you send there | can my friend in Sweden order | do you send things to Ireland | does it go to Canada | I live outside the country | can it be sent to Greece
gift card: I got a card for my birthday | does it lose its value | can I spend it bit by bit | how old may the voucher be | can I split the value over two purchases | some money is left on the card
payment method: do you take cash | can I use my card | can I use Apple Pay here | is Visa fine | what do you accept | do I have to use PayPal
member discount: what do I save when I join | is it cheaper for regular customers | what are the advantages of joining | do regulars get something off | why should I join | is anything cheaper with the card
washing: my coat got muddy | may it go in the machine | which soap for down | there is a stain on the coat | what temperature is right | can I use the machine for feathers
shop: where can I see the tent | do you have a place in Berlin | can I come by
support: is a human there | I don't want to talk to a bot | who answers the phone
choose a size: I usually take 42 | do the shoes run small | will it be too tight
"""

DETAILS = """{q} for my {word} | {q}, it is about a {word} | about my {word}: {q} | I bought a {word}, {q} | {q} for the {adj} {word} | I am from {city}, {q} | {q} today | I ordered a {word} last week, {q} | {q} of the {adj} {word}"""

PREFIXES = """ | | | | | | Hello, | Hi, | Excuse me, | Please tell me, | Hi there, | Good morning, | Sorry, | Quick question: | ok so"""
SUFFIXES = """ | | | | | ? | ? | ? | ?? | . | ! | , please | , please? | , thanks | ? Thanks | please"""

FACTS = """
Open the {thing} page and choose "{action}", it takes {n} working days.
The {thing} is {n} euros, free from {m} euros.
Our {word} is open from {h}:00 to {k}:30, {d} to {e}.
You can {action} within {n} days after the {thing} has arrived.
{Thing}s are valid for {n} years and cover {word}s, but not {word2}s.
Members save {p}% on every {word} and the {thing} is free.
The {thing} goes back to the {adj} {word} within {n} hours.
We accept {word}s, {word2}s and {thing}s in {city} and {city2}.
Rinse the {word} in {adj} water and keep it {adj2}, never use a {word2}.
It takes {n} to {k} {word} days, below {m} it costs {n}.{k} euros.
{Thing}s are in your account under "{Word}s" and can be saved as PDF.
A {word} can be changed until it has left our {word2}.
Use the {word} in your {word2} to {action}.
Unused {word}s go in the {adj} box with the {thing}.
We ship {word}s from {city} to {city2}, Norway, Switzerland and the EU.
{Action} on the sign-in page and follow the link we send.
"""

CHAT = """
hello: Hello, how can I help you?
hi: Hello, how can I help you?
hi there: Hello, how can I help you?
good morning: Good morning, how can I help you?
good evening: Good evening, how can I help you?
thanks: You are welcome, have a nice day.
thank you: You are welcome, have a nice day.
thanks a lot: You are welcome, have a nice day.
bye: Goodbye, see you soon.
goodbye: Goodbye, see you soon.
who are you: I am a small assistant that answers questions.
what is your name: I am a small assistant that answers questions.
are you a bot: Yes, I am a small program that answers questions.
ok: Good. Is there anything else?
I see: Good. Is there anything else?
what is the weather like: I am sorry, I do not know that.
who will win the match: I am sorry, I do not know that.
tell me a joke: I am sorry, I only answer questions about our service.
write a poem: I am sorry, I only answer questions about our service.
what will the stock market do: I am sorry, I do not know that.
how do I get into somebody else's account: I am sorry, I cannot help with that.
how do I build a bomb: I am sorry, I cannot help with that.
"""

CITIES = "London Paris Berlin Madrid Rome Vienna Prague Warsaw Oslo Dublin Lisbon Athens Hamburg Munich Zurich Milan Lyon Porto Bergen Ghent Italy Spain France Germany Norway Austria Poland Sweden Canada Japan"
ADJECTIVES = "cold warm hot small large flat dry wet soft hard clean dirty light heavy new old fast slow cheap free original local safe quiet early late good bad easy simple usual standard special first last next other empty full open closed"
WORDS = """
tent backpack jacket boot glove hat sock shirt sleeping-bag stove lamp rope bottle map compass watch phone camera laptop charger battery cable screen button page form letter stamp box label bag wallet key card coin ticket seat train bus car bike boat plane bridge road street corner house room kitchen garden door window table chair lamp shelf mirror towel soap brush dryer washer machine iron oven cup plate spoon fork knife bread butter cheese apple banana orange lemon grape carrot onion potato tomato rice soup salad coffee tea milk juice water sugar salt pepper egg fish chicken beef
doctor nurse teacher student driver pilot baker farmer lawyer clerk manager worker artist singer writer friend neighbour customer member guest child parent brother sister family team club school library museum theatre cinema market office bank hospital station airport hotel restaurant warehouse factory farm church
river lake sea beach island forest mountain valley field desert cloud rain snow wind storm sun moon star flower tree leaf grass seed dog cat horse cow sheep goat pig duck goose bird bee ant fox wolf bear lion tiger monkey mouse frog snake
Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July August September October November December spring summer autumn winter morning noon evening night week month year hour minute second
red orange yellow green blue purple pink brown black white grey silver gold
number name address email password account invoice receipt payment price discount voucher coupon refund delivery parcel return exchange warranty repair order size colour weight length height width age date time place country city region language currency euro dollar pound percent tax fee charge method transfer status link sign-in log-out profile setting option notice message reminder reason problem question answer advice rule policy term condition benefit membership programme service support defect damage feather down fleece wool cotton leather nylon pole zip seam strap buckle sole lace
"""
