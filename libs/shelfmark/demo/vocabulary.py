"""Words of the demo catalogue: categories, hypernyms, colours, materials, phrases. All written for this project.

`TAXONOMY` is read line by line:

- `# root` and `## group` name inner nodes as `en | de | fr`.
- Behind `::` a group says its kit (see `KITS`), its price range in USD and its audiences (m, w, k or -).
- `:: ` opens its hypernyms: words that fit every leaf of the group, so a title that uses one is ambiguous.
- Any other line is a leaf: nouns per language, synonyms separated by commas, the first names the category. `+s` is the
  plural, used in category names only; `a^b^c` is British ^ American ^ Indian English (Indian falls back to British).
- A leaf of a group with audiences becomes one category per audience: root > audience > group > leaf.
"""

LANGUAGES = ("en", "de", "fr")

TAXONOMY = """
# Clothing | Kleidung | Vêtements
## Tops | Oberteile | Hauts :: cloth 9-60 mwk
:: top, piece | Oberteil, Teil | haut, modèle
t-shirt+s, tee | T-Shirt+s, Shirt | t-shirt+s, tee-shirt
shirt+s, button-up shirt | Hemd+en, Oberhemd | chemise+s, chemisette
polo shirt+s, polo | Polohemd+en, Polo | polo+s, chemise polo
jumper+s^sweater+s, pullover, knit | Pullover, Strickpulli | pull+s, pullover, maille
cardigan+s, knit jacket | Strickjacke+n, Cardigan | gilet+s en maille, cardigan
hoodie+s, hooded top^hooded sweatshirt | Kapuzenpullover, Hoodie | sweat+s à capuche, hoodie
## Bottoms | Hosen | Bas :: cloth 15-90 mwk
:: bottoms, pair | Hose, Modell | bas, modèle
jeans, denim trousers^denim pants | Jeans, Jeanshose | jean+s, pantalon en denim
trousers^pants, chinos | Stoffhose+n, Chino | pantalon+s, chino
shorts, short trousers^short pants | kurze Hose+n, Shorts | short+s, bermuda
leggings, tights | Leggings, Strumpfhose | legging+s, collant
## Outerwear | Jacken und Mäntel | Manteaux :: cloth 35-240 mwk
:: outer layer, piece | Überteil, Modell | vêtement, modèle
jacket+s, blouson | Jacke+n, Blouson | blouson+s, veste
coat+s, overcoat | Mantel, Übermantel | manteau+x, pardessus
raincoat+s, rain jacket | Regenjacke+n, Regenmantel | imperméable+s, ciré
body warmer+s^vest+s, gilet | Weste+n, Steppweste | doudoune+s sans manches, gilet
## Nightwear | Nachtwäsche | Linge de nuit :: cloth 6-55 mwk
:: homewear, set | Wäsche, Set | linge, ensemble
pyjamas^pajamas, sleep set | Schlafanzug, Pyjama | pyjama+s, tenue de nuit
dressing gown+s^bathrobe+s, robe | Bademantel, Morgenmantel | peignoir+s, robe de chambre
sock+s, ankle socks | Socke+n, Strümpfe | chaussette+s, socquettes
underpants, briefs | Unterhose+n, Slip | culotte+s, slip
## Dresses | Kleider | Robes :: cloth 19-140 wk
:: outfit, piece | Outfit, Teil | tenue, modèle
dress+es, gown | Kleid+er, Abendkleid | robe+s, robe longue
skirt+s, pleated skirt | Rock, Faltenrock | jupe+s, jupe plissée
jumpsuit+s, playsuit^romper | Overall+s, Einteiler | combinaison+s, combishort
# Shoes | Schuhe | Chaussures
## Everyday shoes | Alltagsschuhe | Chaussures de ville :: shoe 25-160 mwk
:: shoe, pair of shoes^pair of shoes | Schuh, Paar Schuhe | chaussure, paire
trainer+s^sneaker+s^sports shoe+s, low-top | Turnschuh+e, Sneaker | basket+s, tennis
sandal+s, open shoe | Sandale+n, Riemchenschuh | sandale+s, nu-pieds
boot+s, ankle boot | Stiefel, Stiefelette | botte+s, bottine
slipper+s, house shoe | Hausschuh+e, Pantoffel | chausson+s, pantoufle
## Sports shoes | Sportschuhe | Chaussures de sport :: shoe 35-190 mw
:: sports shoe, pair of shoes | Sportschuh, Paar Schuhe | chaussure de sport, paire
running shoe+s, jogging shoe | Laufschuh+e, Joggingschuh | chaussure+s de course, running
walking boot+s^hiking boot+s, trail shoe | Wanderschuh+e, Trekkingschuh | chaussure+s de marche, randonnée
football boot+s^soccer cleat+s, studded shoe | Fußballschuh+e, Stollenschuh | chaussure+s de football, crampons
# Bags and accessories | Taschen und Accessoires | Sacs et accessoires
## Bags | Taschen | Sacs :: bag 15-210 -
:: bag, carrier | Tasche, Begleiter | sac, modèle
rucksack+s^backpack+s^backpack+s, daypack | Rucksack, Tagesrucksack | sac+s à dos, sac de jour
handbag+s^purse+s, shoulder bag | Handtasche+n, Schultertasche | sac+s à main, sac d'épaule
suitcase+s, trolley^luggage | Koffer, Trolley | valise+s, bagage à roulettes
washbag+s^toiletry bag+s, cosmetic bag | Kulturbeutel, Kosmetiktasche | trousse+s de toilette, vanity
wallet+s, purse^billfold | Geldbörse+n, Portemonnaie | portefeuille+s, porte-monnaie
tote bag+s, shopper | Einkaufstasche+n, Shopper | cabas, sac shopping
holdall+s^duffel bag+s, sports bag | Sporttasche+n, Reisetasche | sac+s de sport, sac de voyage
## Accessories | Accessoires | Accessoires :: acc 8-90 -
:: accessory, classic | Accessoire, Klassiker | accessoire, classique
belt+s, leather belt | Gürtel, Ledergürtel | ceinture+s, ceinturon
scarf, shawl^wrap | Schal+s, Halstuch | écharpe+s, foulard
glove+s, mittens | Handschuh+e, Fäustlinge | gant+s, moufles
woolly hat+s^beanie+s, cap | Mütze+n, Kappe | bonnet+s, casquette
sunglasses, shades | Sonnenbrille+n, Brille | lunettes de soleil, lunettes
umbrella+s, brolly^rain umbrella | Regenschirm+e, Schirm | parapluie+s, ombrelle
tie+s^necktie+s, bow tie | Krawatte+n, Fliege | cravate+s, noeud papillon
## Jewellery^Jewelry | Schmuck | Bijoux :: jewel 12-480 -
:: jewel, piece | Schmuckstück, Stück | bijou, pièce
necklace+s, chain | Halskette+n, Kette | collier+s, chaîne
bracelet+s, bangle | Armband, Armreif | bracelet+s, jonc
earring+s, ear studs | Ohrring+e, Ohrstecker | boucle+s d'oreilles, puces
ring+s, band ring | Ring+e, Bandring | bague+s, anneau
wristwatch+es, watch | Armbanduhr+en, Uhr | montre+s, montre-bracelet
brooch+es, pin | Brosche+n, Anstecknadel | broche+s, épingle
# Kitchen | Küche | Cuisine
## Cookware | Kochgeschirr | Batterie de cuisine :: ware 14-160 -
:: pan, cooking helper | Topf, Kochhelfer | ustensile, poêle
frying pan+s^skillet+s, pan | Bratpfanne+n, Pfanne | poêle+s, poêle à frire
saucepan+s, pot with lid | Kochtopf, Topf mit Deckel | casserole+s, casserole avec couvercle
casserole+s^dutch oven+s, braising pot | Bräter, Schmortopf | cocotte+s, faitout
wok+s, wok pan | Wok+s, Wokpfanne | wok+s, poêle wok
baking tin+s^baking pan+s, cake tin^cake pan | Backform+en, Kuchenform | moule+s à gâteau, moule
roasting tin+s^roasting pan+s, oven dish | Auflaufform+en, Ofenform | plat+s à four, plat à gratin
pressure cooker+s, quick pot | Schnellkochtopf, Dampftopf | autocuiseur+s, cocotte vapeur
## Tableware | Geschirr | Vaisselle :: ware 5-80 -
:: tableware, set for the table | Geschirrteil, Tischset | vaisselle, service
dinner plate+s, plate | Essteller, Teller | assiette+s, assiette plate
bowl+s, cereal bowl | Schüssel+n, Müslischale | bol+s, saladier
mug+s, cup | Becher, Tasse | mug+s, tasse
drinking glass+es, tumbler | Trinkglas, Wasserglas | verre+s, gobelet
cutlery set+s^flatware set+s, knife and fork set | Besteckset+s, Besteck | ménagère+s, couverts
jug+s^pitcher+s, carafe | Krug, Karaffe | carafe+s, pichet
teapot+s, tea jug | Teekanne+n, Kanne | théière+s, théière infuseur
## Kitchen tools | Küchenhelfer | Ustensiles :: tool 4-70 -
:: kitchen tool, helper | Küchenwerkzeug, Helfer | outil de cuisine, accessoire
chef's knife, kitchen knife | Kochmesser, Küchenmesser | couteau+x de chef, couteau de cuisine
bread knife, serrated knife | Brotmesser, Wellenschliffmesser | couteau+x à pain, couteau dentelé
peeler+s, vegetable peeler | Sparschäler, Gemüseschäler | éplucheur+s, économe
chopping board+s^cutting board+s, board | Schneidebrett+er, Brett | planche+s à découper, planche
whisk+s, egg beater | Schneebesen, Rührbesen | fouet+s, batteur à main
ladle+s, soup spoon | Schöpfkelle+n, Suppenkelle | louche+s, cuillère à soupe
spatula+s, fish slice^turner | Pfannenwender, Spatel | spatule+s, pelle
grater+s, cheese grater | Küchenreibe+n, Käsereibe | râpe+s, râpe à fromage
tin opener+s^can opener+s, opener | Dosenöffner, Öffner | ouvre-boîte+s, ouvre-boîte
## Small appliances | Kleingeräte | Petit électroménager :: appl 19-420 -
:: appliance, kitchen machine | Küchengerät, Gerät | appareil, robot
kettle+s, water boiler | Wasserkocher, Teekocher | bouilloire+s, bouilloire électrique
toaster+s, two-slot toaster | Toaster, Doppelschlitztoaster | grille-pain, toasteur
blender+s, smoothie maker | Standmixer, Smoothiemixer | blender+s, mixeur à smoothie
hand mixer+s, beater | Handrührer, Handmixer | batteur+s électrique, mixeur
coffee machine+s^coffee maker+s, espresso machine | Kaffeemaschine+n, Espressomaschine | machine+s à café, cafetière
microwave+s, microwave oven | Mikrowelle+n, Mikrowellengerät | micro-ondes, four à micro-ondes
food processor+s, chopper | Küchenmaschine+n, Zerkleinerer | robot+s de cuisine, hachoir
waffle maker+s^waffle iron+s, waffle plate | Waffeleisen, Waffelautomat | gaufrier+s, appareil à gaufres
air fryer+s, hot air fryer | Heißluftfritteuse+n, Fritteuse | friteuse+s à air, friteuse sans huile
## Food storage | Aufbewahrung | Conservation :: ware 4-45 -
:: storage, container | Aufbewahrung, Behälter | rangement, boîte
lunch box+es, food container | Brotdose+n, Frischhaltedose | boîte+s à repas, boîte de conservation
spice jar+s, storage jar | Gewürzdose+n, Vorratsglas | pot+s à épices, bocal
bread bin+s^bread box+es, bread keeper | Brotkasten, Brotbox | boîte+s à pain, huche à pain
drinking bottle+s^water bottle+s, flask | Trinkflasche+n, Isolierflasche | gourde+s, bouteille isotherme
# Home | Wohnen | Maison
## Bedding | Bettwaren | Literie :: bedding 12-260 -
:: bedding, sleep set | Bettware, Schlafset | literie, parure
duvet+s^comforter+s^quilt+s, quilt | Bettdecke+n, Steppbett | couette+s, couette légère
pillow+s, head pillow | Kopfkissen, Schlafkissen | oreiller+s, traversin
fitted sheet+s, bed sheet | Spannbettlaken, Bettlaken | drap-housse, drap
duvet cover+s^comforter cover+s, bed linen | Bettbezug, Bettwäsche | housse+s de couette, linge de lit
mattress+es, sprung mattress | Matratze+n, Federkernmatratze | matelas, matelas à ressorts
throw+s, blanket | Wolldecke+n, Decke | plaid+s, couverture
## Bathroom | Bad | Salle de bain :: home 6-70 -
:: bath piece, bathroom helper | Badartikel, Badhelfer | article de bain, accessoire de bain
towel+s, bath towel | Handtuch, Badetuch | serviette+s, drap de bain
bath mat+s, bath rug | Badematte+n, Badvorleger | tapis de bain, tapis
shower curtain+s, bath curtain | Duschvorhang, Badvorhang | rideau+x de douche, rideau de bain
soap dispenser+s, lotion pump | Seifenspender, Lotionspender | distributeur+s de savon, pompe à savon
laundry basket+s^hamper+s, washing basket | Wäschekorb, Wäschesammler | panier+s à linge, corbeille
## Decoration | Dekoration | Décoration :: home 7-180 -
:: decoration, home accent | Dekoration, Wohnakzent | décoration, objet déco
vase+s, flower vase | Vase+n, Blumenvase | vase+s, soliflore
picture frame+s, photo frame | Bilderrahmen, Fotorahmen | cadre+s photo, cadre
scented candle+s, candle | Duftkerze+n, Kerze | bougie+s parfumée, bougie
wall clock+s, clock | Wanduhr+en, Uhr | horloge+s murale, pendule
mirror+s, wall mirror | Spiegel, Wandspiegel | miroir+s, miroir mural
cushion+s^throw pillow+s, sofa cushion^accent pillow | Zierkissen, Sofakissen | coussin+s, coussin de canapé
rug+s, carpet | Teppich+e, Läufer | tapis, tapis de salon
curtain+s^drape+s, blackout curtain | Vorhang, Gardine | rideau+x, voilage
## Lighting | Leuchten | Luminaires :: light 12-230 -
:: light, lamp | Leuchte, Lampe | luminaire, lampe
table lamp+s, bedside lamp | Tischlampe+n, Nachttischlampe | lampe+s de table, lampe de chevet
floor lamp+s, standard lamp^standing lamp | Stehlampe+n, Bogenlampe | lampadaire+s, lampe sur pied
pendant light+s, ceiling light | Pendelleuchte+n, Deckenlampe | suspension+s, plafonnier
wall light+s^wall sconce+s, wall lamp | Wandleuchte+n, Wandlampe | applique+s, lampe murale
fairy lights^string lights, light chain | Lichterkette+n, Partylichter | guirlande+s lumineuse, guirlande
light bulb+s, bulb | Glühbirne+n, Leuchtmittel | ampoule+s, ampoule à filament
# Furniture | Möbel | Meubles
## Seating | Sitzmöbel | Sièges :: furn 45-1400 -
:: seat, furniture | Sitzmöbel, Möbel | siège, meuble
sofa+s^couch+es, settee^loveseat | Sofa+s, Couch | canapé+s, divan
armchair+s, easy chair^recliner | Sessel, Ohrensessel | fauteuil+s, bergère
dining chair+s, chair | Esszimmerstuhl, Stuhl | chaise+s de salle à manger, chaise
office chair+s, swivel chair | Bürostuhl, Drehstuhl | chaise+s de bureau, fauteuil de bureau
stool+s, bar stool | Hocker, Barhocker | tabouret+s, tabouret de bar
bench+es, hall bench | Sitzbank, Flurbank | banc+s, banquette
## Tables | Tische | Tables :: furn 40-900 -
:: table, furniture | Tisch, Möbel | table, meuble
dining table+s, extending table | Esstisch+e, Ausziehtisch | table+s à manger, table extensible
coffee table+s, lounge table | Couchtisch+e, Wohnzimmertisch | table+s basse, table de salon
bedside table+s^nightstand+s, night table | Nachttisch+e, Nachtkonsole | table+s de chevet, chevet
desk+s, writing table | Schreibtisch+e, Arbeitstisch | bureau+x, table de travail
side table+s^end table+s, console | Beistelltisch+e, Konsole | table+s d'appoint, console
## Cabinets | Schränke | Rangements :: furn 50-1100 -
:: cabinet, storage unit | Schrank, Stauraum | rangement, meuble
wardrobe+s^closet+s^almirah+s, armoire | Kleiderschrank, Schwebetürenschrank | armoire+s, penderie
bookcase+s^bookshelf, shelf unit | Bücherregal+e, Regal | bibliothèque+s, étagère
chest of drawers^dresser+s, drawer unit | Kommode+n, Schubladenschrank | commode+s, meuble à tiroirs
sideboard+s^credenza+s, buffet | Sideboard+s, Anrichte | buffet+s, enfilade
TV unit+s^TV stand+s, media unit | TV-Schrank, Lowboard | meuble+s TV, banc TV
shoe rack+s, shoe cabinet | Schuhregal+e, Schuhschrank | meuble+s à chaussures, étagère à chaussures
## Beds | Betten | Lits :: furn 90-1300 -
:: bed, furniture | Bett, Möbel | lit, meuble
bed frame+s, double bed | Bettgestell+e, Doppelbett | cadre+s de lit, lit double
bunk bed+s, loft bed | Etagenbett+en, Hochbett | lit+s superposé, lit mezzanine
cot+s^crib+s, cot bed^toddler bed | Babybett+en, Gitterbett | lit+s bébé, lit à barreaux
# Electronics | Elektronik | Électronique
## Audio | Audio | Audio :: elec 19-480 -
:: sound device, audio set | Tongerät, Audioset | appareil audio, son
headphones, over-ear headset | Kopfhörer, Bügelkopfhörer | casque+s audio, casque
earphones^earbuds, in-ear headset | Ohrhörer, In-Ear-Hörer | écouteurs, intra-auriculaires
loudspeaker+s, wireless speaker | Lautsprecher, Funklautsprecher | enceinte+s, haut-parleur
soundbar+s, TV speaker | Soundbar+s, TV-Lautsprecher | barre+s de son, enceinte TV
turntable+s, record player | Plattenspieler, Schallplattenspieler | platine+s vinyle, tourne-disque
radio+s, digital radio | Radio+s, Digitalradio | radio+s, poste numérique
microphone+s, studio mic | Mikrofon+e, Studiomikrofon | micro+s, microphone
## Computers | Computer | Informatique :: memory 15-1800 -
:: device, computer gear | Gerät, Computertechnik | appareil, matériel
laptop+s, notebook computer | Laptop+s, Notebook | ordinateur+s portable, portable
tablet+s, touch tablet | Tablet+s, Tablet-Computer | tablette+s, tablette tactile
external drive+s, portable disk | externe Festplatte+n, mobile Platte | disque+s dur externe, disque portable
memory stick+s^flash drive+s^pen drive+s, USB stick | USB-Stick+s, Speicherstick | clé+s USB, clé mémoire
## Computer accessories | Computerzubehör | Périphériques :: elec 12-420 -
:: accessory, desk gear | Zubehör, Peripherie | périphérique, accessoire
monitor+s, computer screen | Monitor+e, Bildschirm | écran+s, moniteur
keyboard+s, wireless keyboard | Tastatur+en, Funktastatur | clavier+s, clavier sans fil
computer mouse, wireless mouse | Computermaus, Funkmaus | souris, souris sans fil
printer+s, ink printer | Drucker, Tintendrucker | imprimante+s, imprimante à encre
router+s, network router | Router, Netzwerkrouter | routeur+s, boîtier réseau
webcam+s, computer camera | Webcam+s, Computerkamera | webcam+s, caméra d'ordinateur
## Phones | Telefone | Téléphonie :: memory 90-1200 -
:: phone, device | Telefon, Gerät | téléphone, appareil
mobile phone+s^cell phone+s^mobile phone+s, smartphone | Smartphone+s, Handy | smartphone+s, téléphone portable
cordless phone+s, landline phone | Festnetztelefon+e, Schnurlostelefon | téléphone+s fixe, téléphone sans fil
## Phone accessories | Telefonzubehör | Accessoires de téléphone :: elec 6-70 -
:: phone accessory, for phone | Handyzubehör, für Smartphone | accessoire, pour smartphone
phone case+s, phone cover | Handyhülle+n, Schutzhülle | coque+s, étui
charger+s, wall charger | Ladegerät+e, Netzteil | chargeur+s, chargeur secteur
charging cable+s, cable | Ladekabel, Kabel | câble+s de charge, câble
power bank+s, battery pack | Powerbank+s, Zusatzakku | batterie+s externe, batterie de secours
screen protector+s, screen film | Schutzfolie+n, Panzerglas | film+s protecteur, verre trempé
## Photo and television | Foto und Fernsehen | Photo et télévision :: elec 29-1900 -
:: device, picture gear | Gerät, Bildtechnik | appareil, image
camera+s, digital camera | Kamera+s, Digitalkamera | appareil+s photo, caméra
camera lens+es, zoom lens | Objektiv+e, Zoomobjektiv | objectif+s, zoom
tripod+s, camera stand | Stativ+e, Kamerastativ | trépied+s, pied photo
television+s, smart TV | Fernseher, Smart-TV | téléviseur+s, télé connectée
projector+s, beamer^home projector | Beamer, Projektor | vidéoprojecteur+s, projecteur
smartwatch+es, fitness watch | Smartwatch+es, Fitnessuhr | montre+s connectée, montre de sport
# Sports | Sport | Sports
## Fitness | Fitness | Fitness :: sport 9-480 -
:: training gear, workout set | Trainingsgerät, Fitnessset | matériel d'entraînement, kit fitness
dumbbell+s, hand weight | Hantel+n, Kurzhantel | haltère+s, poids
yoga mat+s, gym mat | Yogamatte+n, Gymnastikmatte | tapis de yoga, tapis de gym
exercise bike+s, spin bike | Heimtrainer, Ergometer | vélo+s d'appartement, vélo d'exercice
skipping rope+s^jump rope+s, speed rope | Springseil+e, Hüpfseil | corde+s à sauter, corde
kettlebell+s, ball weight | Kugelhantel+n, Kettlebell | kettlebell+s, boule lestée
resistance band+s, stretch band | Fitnessband, Widerstandsband | bande+s élastique, élastique de fitness
## Camping | Camping | Camping :: outdoor 12-390 -
:: camping gear, outdoor kit | Campingbedarf, Outdoorset | matériel de camping, équipement
tent+s, dome tent | Zelt+e, Kuppelzelt | tente+s, tente dôme
sleeping bag+s, mummy bag | Schlafsack, Mumienschlafsack | sac+s de couchage, duvet
camping stove+s, gas stove | Campingkocher, Gaskocher | réchaud+s, réchaud à gaz
camping chair+s, folding chair | Campingstuhl, Klappstuhl | chaise+s de camping, chaise pliante
head torch+es^headlamp+s, torch^flashlight | Stirnlampe+n, Taschenlampe | lampe+s frontale, lampe torche
cool box+es^cooler+s, ice box | Kühlbox+en, Kühltasche | glacière+s, sac isotherme
air bed+s^air mattress+es, inflatable mat | Luftmatratze+n, Luftbett | matelas gonflable, lit gonflable
## Cycling | Radsport | Cyclisme :: outdoor 8-900 -
:: bike gear, cycling part | Fahrradteil, Radzubehör | équipement vélo, pièce vélo
bicycle+s, city bike | Fahrrad, Stadtrad | vélo+s, vélo de ville
cycle helmet+s^bike helmet+s, helmet | Fahrradhelm+e, Helm | casque+s de vélo, casque
bike light+s, rear light | Fahrradlicht+er, Rücklicht | éclairage+s de vélo, feu arrière
bike lock+s, chain lock | Fahrradschloss, Kettenschloss | antivol+s, antivol à chaîne
bicycle pump+s, floor pump | Luftpumpe+n, Standpumpe | pompe+s à vélo, pompe à pied
saddle+s^bike seat+s, gel saddle | Fahrradsattel, Gelsattel | selle+s, selle en gel
bicycle tyre+s^bicycle tire+s, inner tube | Fahrradreifen, Fahrradschlauch | pneu+s de vélo, chambre à air
## Ball sports | Ballsport | Sports de balle :: sport 7-160 -
:: match gear, ball | Spielgerät, Ball | ballon, matériel de jeu
football+s^soccer ball+s, match ball | Fußball, Spielball | ballon+s de football, ballon de match
basketball+s, indoor ball | Basketball, Hallenball | ballon+s de basket, ballon d'intérieur
tennis racket+s^tennis racquet+s, racket | Tennisschläger, Schläger | raquette+s de tennis, raquette
badminton set+s, shuttlecock set | Badmintonset+s, Federballset | set+s de badminton, jeu de volants
table tennis bat+s^ping pong paddle+s, bat | Tischtennisschläger, Kelle | raquette+s de ping-pong, palette
## Winter and water | Winter und Wasser | Neige et eau :: outdoor 12-620 -
:: sports gear, season gear | Sportgerät, Saisonartikel | matériel de sport, équipement
ski+s, carving ski | Ski, Carvingski | ski+s, ski de piste
snowboard+s, freestyle board | Snowboard+s, Freestyle-Brett | snowboard+s, planche de neige
sledge+s^sled+s, toboggan | Schlitten, Rodel | luge+s, traîneau
swimming goggles, swim mask | Schwimmbrille+n, Taucherbrille | lunettes de natation, masque
life jacket+s, buoyancy aid | Schwimmweste+n, Rettungsweste | gilet+s de sauvetage, gilet flottant
wetsuit+s, neoprene suit | Neoprenanzug, Taucheranzug | combinaison+s de plongée, combinaison néoprène
# Toys and baby | Spielzeug und Baby | Jouets et bébé
## Games | Spiele | Jeux :: toy 8-60 -
:: game, family fun | Spiel, Familienspaß | jeu, jeu familial
board game+s, family game | Brettspiel+e, Gesellschaftsspiel | jeu+x de société, jeu de plateau
jigsaw puzzle+s, puzzle | Puzzle+s, Legespiel | puzzle+s, casse-tête
card game+s, playing cards | Kartenspiel+e, Spielkarten | jeu+x de cartes, cartes à jouer
## Toys | Spielwaren | Jouets :: toy 6-130 -
:: toy, play set | Spielzeug, Spielset | jouet, coffret
building bricks^building blocks, construction set | Bausteine, Bauset | briques de construction, jeu de construction
doll+s, fashion doll | Puppe+n, Anziehpuppe | poupée+s, poupon
soft toy+s^stuffed animal+s, cuddly bear^plush bear | Kuscheltier+e, Plüschtier | peluche+s, doudou
toy car+s, model car | Spielzeugauto+s, Modellauto | petite+s voiture, voiture miniature
train set+s, model railway^model railroad | Eisenbahnset+s, Modelleisenbahn | circuit+s de train, train miniature
kite+s, stunt kite | Drachen, Lenkdrachen | cerf-volant, cerf-volant acrobatique
modelling clay^modeling clay, play dough | Knete, Modelliermasse | pâte+s à modeler, argile
colouring book+s^coloring book+s, sticker book | Malbuch, Stickerbuch | livre+s de coloriage, livre d'autocollants
## Outdoor play | Spielen draußen | Plein air :: toy 25-420 -
:: garden toy, play equipment | Gartenspielzeug, Spielgerät | jeu de plein air, jouet de jardin
swing+s, garden swing | Schaukel+n, Gartenschaukel | balançoire+s, portique
kick scooter+s, scooter | Tretroller, Roller | trottinette+s, patinette
trampoline+s, garden trampoline | Trampolin+e, Gartentrampolin | trampoline+s, trampoline de jardin
sandpit+s^sandbox+es, sand table | Sandkasten, Sandtisch | bac+s à sable, table à sable
## Baby | Baby | Bébé :: baby 6-620 -
:: baby item, nursery helper | Babyartikel, Babyhelfer | article bébé, puériculture
rattle+s, grasping toy | Rassel+n, Greifling | hochet+s, jouet de préhension
pushchair+s^stroller+s^pram+s, buggy | Kinderwagen, Buggy | poussette+s, landau
child car seat+s, booster seat | Kindersitz+e, Sitzerhöhung | siège+s auto, rehausseur
nappies^diapers^diapers, disposable nappies^disposable diapers | Windeln, Einwegwindeln | couches, couches jetables
baby bottle+s, feeding bottle | Babyflasche+n, Fläschchen | biberon+s, biberon en verre
dummy^pacifier+s, soother | Schnuller, Beruhigungssauger | tétine+s, sucette
baby monitor+s, baby camera | Babyphone+s, Babykamera | babyphone+s, écoute-bébé
changing mat+s^changing pad+s, nappy mat^diaper mat | Wickelauflage+n, Wickelunterlage | matelas à langer, tapis à langer
# Beauty and health | Schönheit und Gesundheit | Beauté et santé
## Skin care | Hautpflege | Soins de la peau :: liquid 4-90 -
:: skin care, care cream | Pflege, Hautcreme | soin, crème
face cream+s, day cream | Gesichtscreme+s, Tagescreme | crème+s visage, crème de jour
body lotion+s, body milk | Körperlotion+en, Körpermilch | lait+s corporel, lotion corps
sun cream+s^sunscreen+s, sun milk | Sonnencreme+s, Sonnenmilch | crème+s solaire, lait solaire
lip balm+s, lip care | Lippenbalsam, Lippenpflege | baume+s à lèvres, soin des lèvres
face mask+s, clay mask | Gesichtsmaske+n, Tonerdemaske | masque+s visage, masque à l'argile
facial cleanser+s, cleansing gel | Gesichtsreiniger, Reinigungsgel | nettoyant+s visage, gel nettoyant
## Hair care | Haarpflege | Soins des cheveux :: liquid 3-60 -
:: hair care, care set | Haarpflege, Pflegeset | soin cheveux, soin
shampoo+s, repair shampoo | Shampoo+s, Haarshampoo | shampooing+s, shampooing réparateur
conditioner+s, hair rinse | Haarspülung+en, Conditioner | après-shampooing+s, démêlant
hair dye+s^hair color+s, hair tint | Haarfarbe+n, Tönung | coloration+s, teinture
hair mask+s, hair treatment | Haarkur+en, Haarmaske | masque+s capillaire, soin profond
## Hair styling | Haarstyling | Coiffure :: appl 8-190 -
:: styling tool, hair device | Stylinggerät, Haargerät | appareil coiffant, accessoire coiffure
hairdryer+s^blow dryer+s, dryer | Haartrockner, Föhn | sèche-cheveux, séchoir
hairbrush+es, paddle brush | Haarbürste+n, Paddelbürste | brosse+s à cheveux, brosse plate
straightener+s^flat iron+s, styling iron | Glätteisen, Stylingeisen | lisseur+s, fer à lisser
## Make-up | Make-up | Maquillage :: makeup 4-60 -
:: make-up, colour touch^color touch | Schminke, Farbtupfer | maquillage, touche de couleur
lipstick+s, lip colour^lip color | Lippenstift+e, Lippenfarbe | rouge+s à lèvres, encre à lèvres
mascara+s, lash mascara | Mascara+s, Wimperntusche | mascara+s, mascara volume
foundation+s, tinted cream | Grundierung+en, getönte Creme | fond+s de teint, crème teintée
nail varnish+es^nail polish+es, gel varnish^gel polish | Nagellack+e, Gellack | vernis à ongles, vernis gel
eyeshadow+s, shadow palette | Lidschatten, Lidschattenpalette | fard+s à paupières, palette d'ombres
## Hygiene | Hygiene | Hygiène :: liquid 2-40 -
:: daily care, fresh care | Körperpflege, Frische | soin quotidien, fraîcheur
toothbrush+es, soft brush | Zahnbürste+n, weiche Bürste | brosse+s à dents, brosse souple
toothpaste+s, tooth gel | Zahnpasta+s, Zahngel | dentifrice+s, gel dentaire
shower gel+s^body wash+es, shower cream | Duschgel+e, Duschcreme | gel+s douche, crème de douche
hand soap+s, soap bar | Handseife+n, Stückseife | savon+s, pain de savon
deodorant+s, deo spray | Deodorant+s, Deospray | déodorant+s, spray déo
razor+s, safety razor | Rasierer, Nassrasierer | rasoir+s, rasoir de sécurité
eau de parfum, fragrance | Eau de Parfum, Duft | eau de parfum, parfum
aftershave+s, shaving balm | Rasierwasser, Aftershave | après-rasage+s, baume après-rasage
## Health | Gesundheit | Santé :: health 4-120 -
:: health helper, home care | Gesundheitshelfer, Hausapotheke | santé, soin à domicile
plaster+s^adhesive bandage+s, wound strips | Pflaster, Wundpflaster | pansement+s, sparadrap
thermometer+s, fever thermometer | Fieberthermometer, Thermometer | thermomètre+s, thermomètre frontal
vitamin tablets, vitamins | Vitamintabletten, Vitamine | comprimés de vitamines, vitamines
blood pressure monitor+s, arm monitor | Blutdruckmessgerät+e, Oberarmmesser | tensiomètre+s, tensiomètre de bras
# Groceries | Lebensmittel | Épicerie
## Drinks | Getränke | Boissons :: drink 1-30 -
:: drink, refreshment | Getränk, Erfrischung | boisson, rafraîchissement
ground coffee, coffee | gemahlener Kaffee, Kaffee | café moulu, café
green tea+s, tea | Grüntee+s, Tee | thé+s vert, thé
fruit juice+s, juice | Fruchtsaft, Saft | jus de fruits, jus
lemonade+s^soda+s, fizzy drink^soft drink | Limonade+n, Brause | limonade+s, soda
mineral water, sparkling water | Mineralwasser, Sprudel | eau minérale, eau gazeuse
beer+s, pale ale | Bier+e, Helles | bière+s, bière blonde
red wine+s, wine | Rotwein+e, Wein | vin+s rouge, vin
## Pantry | Vorrat | Placard :: food 1-18 -
:: pantry staple, food | Vorrat, Grundzutat | produit de base, aliment
pasta, spaghetti | Nudeln, Spaghetti | pâtes, spaghettis
rice, long grain rice | Reis, Langkornreis | riz, riz long
wheat flour, flour | Weizenmehl, Mehl | farine de blé, farine
cane sugar, sugar | Rohrzucker, Zucker | sucre de canne, sucre
olive oil+s, oil | Olivenöl+e, Öl | huile+s d'olive, huile
vinegar+s, cider vinegar | Essig+e, Apfelessig | vinaigre+s, vinaigre de cidre
honey, blossom honey | Honig, Blütenhonig | miel+s, miel de fleurs
jam+s^jelly, fruit spread | Marmelade+n, Fruchtaufstrich | confiture+s, tartinade de fruits
tinned tomatoes^canned tomatoes, tomatoes | Dosentomaten, Tomaten | tomates en conserve, tomates
breakfast cereal+s, muesli^granola | Frühstücksflocken, Müsli | céréales, muesli
## Snacks | Snacks | En-cas :: food 1-15 -
:: snack, treat | Snack, Knabberei | en-cas, gourmandise
chocolate bar+s, chocolate | Schokoladentafel+n, Schokolade | tablette+s de chocolat, chocolat
biscuit+s^cookie+s^biscuit+s, butter biscuits^butter cookies | Keks+e, Butterkekse | biscuit+s, sablés
crisps^potato chips, potato snack | Kartoffelchips, Chips | chips, chips de pommes de terre
mixed nuts, nuts | Nussmischung+en, Nüsse | mélange+s de noix, noix
sweets^candy, fruit gums^fruit chews | Bonbons, Fruchtgummi | bonbons, gommes aux fruits
cereal bar+s^granola bar+s, oat bar | Müsliriegel, Haferriegel | barre+s de céréales, barre d'avoine
## Fresh food | Frisches | Frais :: food 1-22 -
:: fresh food, chilled treat | Frischware, Kühlware | produit frais, fraîcheur
hard cheese+s, cheese | Hartkäse, Käse | fromage+s à pâte dure, fromage
yoghurt+s^yogurt+s^curd, natural yoghurt^plain yogurt | Joghurt+s, Naturjoghurt | yaourt+s, yaourt nature
butter, salted butter | Butter, Salzbutter | beurre+s, beurre salé
whole milk, milk | Vollmilch, Milch | lait entier, lait
cooked ham, ham | Kochschinken, Schinken | jambon+s, jambon cuit
rye bread+s, bread | Roggenbrot+e, Brot | pain+s de seigle, pain
sponge cake+s, cake | Rührkuchen, Kuchen | gâteau+x, génoise
## Spices | Gewürze | Épices :: spice 1-14 -
:: spice, seasoning | Gewürz, Würze | épice, assaisonnement
black pepper, pepper | schwarzer Pfeffer, Pfeffer | poivre noir, poivre
paprika powder, paprika | Paprikapulver, Paprika | paprika+s, poudre de paprika
cinnamon, cinnamon sticks | Zimt, Zimtstangen | cannelle, bâtons de cannelle
sea salt, salt | Meersalz, Salz | sel de mer, sel
# DIY and garden | Heimwerken und Garten | Bricolage et jardin
## Hand tools | Handwerkzeug | Outils à main :: tool 5-80 -
:: tool, hand tool | Werkzeug, Handwerkzeug | outil, outil à main
claw hammer+s, hammer | Hammer, Zimmermannshammer | marteau+x, marteau de charpentier
screwdriver+s, driver set | Schraubendreher, Schrauberset | tournevis, jeu de tournevis
spanner+s^wrench+es, ring spanner^box wrench | Schraubenschlüssel, Ringschlüssel | clé+s plate, clé à molette
pliers, combination pliers | Zange+n, Kombizange | pince+s, pince universelle
handsaw+s, saw | Handsäge+n, Säge | scie+s égoïne, scie
tape measure+s, measuring tape | Maßband, Bandmaß | mètre ruban, mètre
## Power tools | Elektrowerkzeug | Outillage électrique :: power 29-380 -
:: power tool, machine | Elektrowerkzeug, Maschine | outil électrique, machine
cordless drill+s, drill driver | Akkuschrauber, Bohrschrauber | perceuse+s, perceuse-visseuse
sander+s, orbital sander | Schleifer, Schwingschleifer | ponceuse+s, ponceuse orbitale
circular saw+s, saw | Kreissäge+n, Säge | scie+s circulaire, scie
jigsaw+s^saber saw+s, saw | Stichsäge+n, Säge | scie+s sauteuse, scie
angle grinder+s, grinder | Winkelschleifer, Trennschleifer | meuleuse+s, meuleuse d'angle
## Garden | Garten | Jardin :: garden 6-420 -
:: garden helper, garden tool | Gartenhelfer, Gartengerät | outil de jardin, aide au jardin
lawnmower+s, mower | Rasenmäher, Mäher | tondeuse+s, tondeuse à gazon
hedge trimmer+s, hedge cutter | Heckenschere+n, Heckenschneider | taille-haie+s, taille-haie
spade+s^shovel+s, digging spade^digging shovel | Spaten, Gartenspaten | bêche+s, pelle
rake+s, leaf rake | Rechen, Laubrechen | râteau+x, balai à feuilles
watering can+s, can | Gießkanne+n, Kanne | arrosoir+s, arrosoir de jardin
garden hose+s, hosepipe^hose | Gartenschlauch, Schlauch | tuyau+x d'arrosage, tuyau
secateurs^pruning shears, garden scissors | Gartenschere+n, Rosenschere | sécateur+s, cisaille
plant pot+s^planter+s, flower pot | Blumentopf, Pflanztopf | pot+s de fleurs, jardinière
wheelbarrow+s, garden cart | Schubkarre+n, Gartenkarre | brouette+s, chariot de jardin
## Outdoor living | Terrasse | Terrasse :: furn 25-700 -
:: patio piece, outdoor furniture | Terrassenmöbel, Gartenmöbel | mobilier de jardin, extérieur
barbecue+s^grill+s, charcoal barbecue^charcoal grill | Grill+s, Holzkohlegrill | barbecue+s, barbecue à charbon
parasol+s^patio umbrella+s, sun shade | Sonnenschirm+e, Ampelschirm | parasol+s, parasol déporté
garden chair+s^patio chair+s, chair | Gartenstuhl, Stuhl | chaise+s de jardin, chaise
garden table+s^patio table+s, table | Gartentisch+e, Tisch | table+s de jardin, table
hammock+s, hanging chair | Hängematte+n, Hängesessel | hamac+s, fauteuil suspendu
## Decorating | Malerbedarf | Peinture :: paint 3-90 -
:: decorating supply, paint supply | Malerbedarf, Streichset | peinture, matériel de peinture
wall paint+s, emulsion^latex paint | Wandfarbe+n, Innenfarbe | peinture+s murale, peinture mate
paintbrush+es, flat brush | Malerpinsel, Flachpinsel | pinceau+x, brosse plate
masking tape+s^painter's tape, tape | Kreppband, Abklebeband | ruban+s de masquage, ruban
paint roller+s, roller set | Farbroller, Rollerset | rouleau+x à peindre, manchon
## Hardware | Eisenwaren | Quincaillerie :: part 2-60 -
:: fitting, hardware | Beschlag, Eisenware | quincaillerie, fixation
padlock+s, lock | Vorhängeschloss, Schloss | cadenas, serrure
door handle+s^door knob+s, handle | Türgriff+e, Griff | poignée+s de porte, poignée
wood screws, screws | Holzschrauben, Schrauben | vis à bois, vis
wall hook+s, hook | Wandhaken, Haken | crochet+s mural, patère
# Pets | Tierbedarf | Animaux
## Dogs | Hunde | Chiens :: pet 4-90 -
:: for dogs, dog item | für Hunde, Hundebedarf | pour chien, article pour chien
dog food, dry dog food | Hundefutter, Trockenfutter | croquettes pour chien, nourriture pour chien
dog lead+s^dog leash+es, lead^leash | Hundeleine+n, Leine | laisse+s, laisse pour chien
dog bed+s, pet bed | Hundebett+en, Hundekissen | panier+s pour chien, coussin pour chien
dog toy+s, chew toy | Hundespielzeug+e, Kauspielzeug | jouet+s pour chien, jouet à mâcher
## Cats | Katzen | Chats :: pet 4-120 -
:: for cats, cat item | für Katzen, Katzenbedarf | pour chat, article pour chat
cat food, wet cat food | Katzenfutter, Nassfutter | pâtée pour chat, nourriture pour chat
cat litter, clumping litter | Katzenstreu, Klumpstreu | litière+s, litière agglomérante
scratching post+s^cat tree+s, scratcher | Kratzbaum, Kratzsäule | arbre+s à chat, griffoir
cat toy+s, teaser toy | Katzenspielzeug+e, Spielangel | jouet+s pour chat, canne à pêche
## Small animals | Kleintiere | Petits animaux :: pet 4-150 -
:: for small pets, pet item | für Kleintiere, Tierartikel | pour petits animaux, article animalier
hamster cage+s, rodent cage | Hamsterkäfig+e, Nagerkäfig | cage+s à hamster, cage rongeur
meadow hay, hay | Wiesenheu, Heu | foin de prairie, foin
aquarium+s, fish tank | Aquarium, Fischbecken | aquarium+s, bac à poissons
fish food, flake food | Fischfutter, Flockenfutter | nourriture pour poissons, flocons
bird feeder+s, bird table | Vogelfutterhaus, Futterstation | mangeoire+s, nichoir
# Office | Büro | Bureau
## Writing | Schreiben | Écriture :: stationery 1-60 -
:: pen, writing set | Stift, Schreibset | stylo, set d'écriture
ballpoint pen+s, biro^ball pen | Kugelschreiber, Kuli | stylo+s à bille, bille
fountain pen+s, ink pen | Füller, Füllfederhalter | stylo+s plume, plume
pencil+s, drawing pencil | Bleistift+e, Zeichenstift | crayon+s, crayon à papier
felt-tip pen+s^marker+s, fibre pen^fiber pen | Filzstift+e, Fasermaler | feutre+s, feutre fin
highlighter+s, text marker | Textmarker, Leuchtstift | surligneur+s, marqueur fluo
## Paper | Papier | Papeterie :: stationery 2-40 -
:: paper goods, stationery | Papierware, Schreibware | papeterie, papier
notebook+s, ruled pad | Notizbuch, Schreibblock | carnet+s, bloc-notes
printer paper, copy paper | Druckerpapier, Kopierpapier | papier d'impression, ramette
envelope+s, mailing envelope | Briefumschlag, Versandumschlag | enveloppe+s, pochette
sticky notes, note pad | Haftnotizen, Notizzettel | notes adhésives, bloc adhésif
diary^planner+s, calendar | Taschenkalender, Terminplaner | agenda+s, calendrier
## Desk | Schreibtisch | Organisation :: stationery 3-50 -
:: office helper, desk item | Bürohelfer, Schreibtischartikel | accessoire de bureau, fourniture
stapler+s, office stapler | Hefter, Tacker | agrafeuse+s, agrafeuse de bureau
hole punch+es, punch | Locher, Bürolocher | perforatrice+s, perforateur
ring binder+s^three-ring binder+s, folder | Ordner, Ringbuch | classeur+s, classeur à levier
scissors, paper scissors | Schere+n, Papierschere | ciseaux, ciseaux à papier
calculator+s, desk calculator | Taschenrechner, Tischrechner | calculatrice+s, calculatrice de bureau
# Car | Auto | Auto
## Car care | Autopflege | Entretien :: liquid 4-40 -
:: car care, valet care^detailing | Autopflege, Fahrzeugpflege | entretien auto, soin auto
car shampoo+s, car wash | Autoshampoo+s, Waschkonzentrat | shampooing+s auto, nettoyant auto
car wax+es, polish | Autowachs, Politur | cire+s auto, polish
engine oil+s^motor oil+s, oil | Motoröl+e, Öl | huile+s moteur, huile
screenwash^windshield washer fluid, glass cleaner | Scheibenreiniger, Frostschutz | lave-glace, nettoyant vitres
## Car accessories | Autozubehör | Accessoires auto :: part 9-420 -
:: car accessory, for the car | Autozubehör, fürs Auto | accessoire auto, pour la voiture
roof box+es, cargo box | Dachbox+en, Gepäckbox | coffre+s de toit, coffre
car mat+s^floor mat+s, rubber mat | Fußmatte+n, Automatte | tapis de voiture, tapis de sol
seat cover+s, car seat cover | Sitzbezug, Schonbezug | housse+s de siège, couvre-siège
jump leads^jumper cables, starter cables | Starthilfekabel, Überbrückungskabel | câbles de démarrage, câbles
phone mount+s, car holder | Handyhalterung+en, Autohalterung | support+s de téléphone, support voiture
dash cam+s, car camera | Autokamera+s, Dashcam | caméra+s embarquée, dashcam
## Car parts | Autoteile | Pièces auto :: part 6-260 -
:: spare part, car part | Ersatzteil, Autoteil | pièce détachée, pièce auto
wiper blade+s, windscreen wiper^windshield wiper | Scheibenwischer, Wischerblatt | balai+s d'essuie-glace, essuie-glace
brake pad+s, brake set | Bremsbelag, Bremsenset | plaquette+s de frein, kit de frein
car battery^auto battery, starter battery | Autobatterie+n, Starterbatterie | batterie+s auto, batterie de démarrage
spark plug+s, plug | Zündkerze+n, Kerze | bougie+s d'allumage, bougie
car tyre+s^car tire+s, winter tyre^winter tire | Autoreifen, Winterreifen | pneu+s auto, pneu hiver
motorcycle helmet+s, helmet | Motorradhelm+e, Helm | casque+s moto, casque
# Music | Musik | Musique
## Instruments | Instrumente | Instruments :: music 25-900 -
:: instrument, starter set | Instrument, Einsteigerset | instrument, pack débutant
acoustic guitar+s, guitar | Akustikgitarre+n, Gitarre | guitare+s acoustique, guitare
electric guitar+s, guitar | E-Gitarre+n, Gitarre | guitare+s électrique, guitare
digital piano+s, stage piano | Digitalpiano+s, E-Piano | piano+s numérique, piano de scène
violin+s, fiddle | Violine+n, Geige | violon+s, violon d'étude
ukulele+s, soprano ukulele | Ukulele+n, Sopranukulele | ukulélé+s, ukulélé soprano
recorder+s, descant recorder^soprano recorder | Blockflöte+n, Sopranflöte | flûte+s à bec, flûte
drum kit+s^drum set+s, drums | Schlagzeug+e, Trommelset | batterie+s acoustique, caisse claire
## Music accessories | Musikzubehör | Accessoires de musique :: music 4-90 -
:: music accessory, stage gear | Musikzubehör, Bühnenbedarf | accessoire de musique, matériel de scène
guitar strings, strings | Gitarrensaiten, Saiten | cordes de guitare, cordes
music stand+s, stand | Notenständer, Ständer | pupitre+s, support
drumstick+s, sticks | Drumstick+s, Trommelstöcke | baguettes de batterie, baguettes
capo+s, guitar clamp | Kapodaster, Gitarrenklemme | capodastre+s, pince guitare
tuner+s, clip tuner | Stimmgerät+e, Clip-Stimmgerät | accordeur+s, accordeur à pince
"""

AUDIENCES = {
    "m": (("Men", "Herren", "Homme"), ("men's", "Herren", "homme"), ("for men", "für Herren", "pour homme")),
    "w": (("Women", "Damen", "Femme"), ("women's", "Damen", "femme"), ("for women", "für Damen", "pour femme")),
    "k": (("Kids", "Kinder", "Enfant"), ("kids'", "Kinder", "enfant"), ("for kids", "für Kinder", "pour enfant")),
}
"""Audience -> (category name, short form in titles, long form in titles), each in en, de, fr."""

_CLOTH = (("cotton", "Baumwolle", "coton"), ("linen", "Leinen", "lin"), ("wool", "Wolle", "laine"),
          ("viscose", "Viskose", "viscose"), ("polyester", "Polyester", "polyester"))  # fmt: skip
_LEATHER = (("leather", "Leder", "cuir"), ("canvas", "Canvas", "toile"), ("suede", "Veloursleder", "daim"),
            ("nylon", "Nylon", "nylon"), ("mesh", "Mesh", "maille filet"))  # fmt: skip
_METAL = (("sterling silver", "Sterlingsilber", "argent massif"), ("brass", "Messing", "laiton"),
          ("titanium", "Titan", "titane"), ("stainless steel", "Edelstahl", "acier inoxydable"))  # fmt: skip
_WARE = (("stainless steel", "Edelstahl", "inox"), ("cast iron", "Gusseisen", "fonte"),
         ("stoneware", "Steingut", "grès"), ("glass", "Glas", "verre"), ("aluminium", "Aluminium", "aluminium"),
         ("bamboo", "Bambus", "bambou"))  # fmt: skip
_WOOD = (("oak", "Eiche", "chêne"), ("walnut", "Nussbaum", "noyer"), ("pine", "Kiefer", "pin"),
         ("metal", "Metall", "métal"), ("rattan", "Rattan", "rotin"), ("velvet", "Samt", "velours"))  # fmt: skip
_HARD = (("plastic", "Kunststoff", "plastique"), ("aluminium", "Aluminium", "aluminium"), ("steel", "Stahl", "acier"),
         ("rubber", "Gummi", "caoutchouc"), ("beech wood", "Buchenholz", "hêtre"))  # fmt: skip
_NONE = ()

_VOLUMES = ("50 ml", "75 ml", "100 ml", "150 ml", "200 ml", "250 ml", "400 ml", "500 ml")
_WEIGHTS = ("100 g", "150 g", "200 g", "250 g", "400 g", "500 g", "750 g", "1 kg", "2 kg")
_BEDS = ("90 x 200 cm", "140 x 200 cm", "135 x 200 cm", "155 x 220 cm", "160 x 200 cm", "200 x 200 cm")
_WIDTHS = ("60 cm", "80 cm", "90 cm", "100 cm", "120 cm", "140 cm", "160 cm", "180 cm")
_DIAMETERS = ("16 cm", "18 cm", "20 cm", "22 cm", "24 cm", "26 cm", "28 cm", "30 cm", "32 cm")
_CLOTHING = ("XS", "S", "M", "L", "XL", "XXL")

KITS = {
    # kit: (sizes, chance that it has a colour, materials, chance that a wattage is given, weight range in grams)
    "cloth": (_CLOTHING, 1.0, _CLOTH, 0, (120, 1400)),
    "shoe": (tuple(str(n) for n in range(36, 47)), 1.0, _LEATHER, 0, (400, 1600)),
    "bag": (("S", "M", "L"), 1.0, _LEATHER, 0, (200, 3800)),
    "acc": (("S", "M", "L"), 1.0, _CLOTH, 0, (30, 400)),
    "jewel": (("48", "50", "52", "54", "56", "58"), 0.6, _METAL, 0, (3, 120)),
    "ware": (_DIAMETERS, 0.7, _WARE, 0, (150, 4200)),
    "tool": (_DIAMETERS, 0.4, _HARD, 0, (60, 2400)),
    "appl": ((), 0.9, _HARD, 0.8, (700, 12000)),
    "bedding": (_BEDS, 0.8, _CLOTH, 0, (400, 9000)),
    "home": (_DIAMETERS, 0.9, _WARE, 0, (100, 6000)),
    "light": (_DIAMETERS, 0.8, _WARE, 0.6, (200, 6000)),
    "furn": (_WIDTHS, 0.9, _WOOD, 0, (2500, 90000)),
    "elec": ((), 1.0, _NONE, 0.4, (40, 9000)),
    "memory": (("32 GB", "64 GB", "128 GB", "256 GB", "512 GB"), 1.0, _NONE, 0, (30, 2600)),
    "sport": ((), 0.9, _HARD, 0, (100, 24000)),
    "outdoor": (("S", "M", "L"), 0.9, _HARD, 0, (150, 16000)),
    "toy": ((), 0.6, _HARD, 0, (80, 9000)),
    "baby": (("S", "M", "L"), 0.8, _CLOTH, 0, (30, 9000)),
    "liquid": (_VOLUMES, 0.0, _NONE, 0, (60, 700)),
    "makeup": (("5 ml", "8 ml", "10 ml", "12 ml", "30 ml"), 1.0, _NONE, 0, (10, 90)),
    "health": (("10 pcs", "20 pcs", "50 pcs", "100 pcs"), 0.0, _NONE, 0, (20, 700)),
    "drink": (("250 g", "500 g", "330 ml", "500 ml", "750 ml", "1 l"), 0.0, _NONE, 0, (100, 1600)),
    "food": (_WEIGHTS, 0.0, _NONE, 0, (90, 2100)),
    "spice": (("25 g", "40 g", "50 g", "80 g", "100 g", "250 g"), 0.0, _NONE, 0, (20, 300)),
    "power": (("12 V", "18 V", "230 V"), 0.7, _NONE, 0.8, (900, 9000)),
    "garden": (_WIDTHS, 0.6, _HARD, 0, (200, 24000)),
    "paint": (("250 ml", "750 ml", "1 l", "2 l", "5 l", "10 l"), 0.7, _NONE, 0, (100, 12000)),
    "part": (_DIAMETERS, 0.4, _HARD, 0, (20, 12000)),
    "pet": (("S", "M", "L", "XL"), 0.6, _HARD, 0, (80, 9000)),
    "stationery": (("A4", "A5", "A6"), 0.8, _NONE, 0, (8, 1200)),
    "music": ((), 0.8, _WOOD, 0, (20, 14000)),
}
"""What a group's products are made of. Sizes are text as vendors print it; no kit has two quantities of one kind."""

KID_SIZES = ("92", "98", "104", "110", "116", "122", "128", "134", "140", "152", "164")
KID_SHOES = tuple(str(n) for n in range(22, 36))

COLOURS = (
    # (en, de, fr, red-green-blue); American English writes gray
    ("black", "schwarz", "noir", (32, 32, 36)), ("white", "weiß", "blanc", (240, 240, 236)),
    ("grey", "grau", "gris", (128, 130, 134)), ("blue", "blau", "bleu", (40, 84, 190)),
    ("red", "rot", "rouge", (196, 40, 44)), ("green", "grün", "vert", (44, 140, 70)),
    ("yellow", "gelb", "jaune", (236, 204, 60)), ("orange", "orange", "orange", (236, 136, 44)),
    ("pink", "rosa", "rose", (236, 140, 172)), ("purple", "lila", "violet", (124, 68, 164)),
    ("brown", "braun", "marron", (116, 76, 48)), ("beige", "beige", "beige", (216, 196, 164)),
    ("turquoise", "türkis", "turquoise", (60, 184, 184)), ("burgundy", "bordeaux", "bordeaux", (112, 28, 52)),
    ("navy", "marine", "marine", (28, 40, 92)), ("olive", "oliv", "olive", (112, 116, 52)),
)  # fmt: skip

ADJECTIVES = {
    "en": ("classic", "light", "compact", "everyday", "premium", "slim", "sturdy", "soft", "modern", "foldable",
           "natural", "practical", "elegant", "robust", "handmade", "essential", "original", "timeless", "fine",
           "pure", "quick", "smart", "mini", "deluxe"),
    "de": ("klassisch", "leicht", "kompakt", "alltagstauglich", "hochwertig", "schmal", "stabil", "weich", "modern",
           "faltbar", "natürlich", "praktisch", "elegant", "robust", "handgefertigt", "unverzichtbar", "original",
           "zeitlos", "fein", "pur", "schnell", "clever", "mini", "edel"),
    "fr": ("classique", "léger", "compact", "quotidien", "haut de gamme", "fin", "solide", "doux", "moderne",
           "pliable", "naturel", "pratique", "élégant", "robuste", "artisanal", "essentiel", "original", "intemporel",
           "raffiné", "pur", "rapide", "malin", "mini", "de luxe"),
}  # fmt: skip

EXTRAS = {
    "en": ("new", "gift idea", "best choice", "limited edition", "value pack", "new season"),
    "de": ("neu", "Geschenkidee", "beste Wahl", "limitierte Auflage", "Vorteilspackung", "neue Saison"),
    "fr": ("nouveau", "idée cadeau", "meilleur choix", "édition limitée", "pack avantage", "nouvelle saison"),
}

WITH = {"en": "goes with", "de": "passend zu", "fr": "assorti à"}
"""Opens a phrase that names another category's noun: a trap for bag-of-words models."""

SENTENCES = {
    # Slots: {b} brand, {s} series, {n} noun or hypernym, {a} and {z} adjectives. No sentence holds a figure.
    "en": (
        "The {s} {n} by {b}: {a} and {z}.", "{b} made this {n} for people who like it {a}.",
        "With {s} this {n} stays {a} for a long time.", "A companion at home and on the way, always {a}.",
        "Our buyers picked the {s} because it is {a} and {z}.", "Easy to look after, {a} in use.",
        "Packed with care and sent without plastic wrap.", "{b} stands behind the {s} with a long guarantee.",
        "When this {n} is needed at once: {a} and {z}.", "Small details make it {a}, good work makes it {z}.",
        "Pairs well with the rest of the {s} range.", "Returned parts are repaired and used again.",
    ),
    "de": (
        "{s} von {b}: {n}, {a} und {z}.", "{b} hat dieses Stück für alle gemacht, die es {a} mögen.",
        "Mit {s} bekommen Sie ein Produkt, das lange {a} bleibt.", "Ein treuer Begleiter für zu Hause und unterwegs.",
        "Unsere Einkäufer wählten {s}, weil es {a} und {z} ist.", "Pflegeleicht und {a} im Gebrauch.",
        "Sorgfältig verpackt und ohne Plastikfolie verschickt.", "{b} gibt auf {s} eine lange Garantie.",
        "Eine gute Wahl, wenn es schnell gehen muss: {a} und {z}.", "Kleine Details machen es {a}.",
        "Passt gut zum übrigen Programm von {s}.", "Zurückgegebene Teile werden repariert und weiter genutzt.",
    ),
    "fr": (
        "{s} de {b} : {n}, {a} et {z}.", "{b} a pensé ce produit pour ceux qui l'aiment {a}.",
        "Avec {s}, vous choisissez un produit qui reste {a} longtemps.", "Un compagnon fidèle à la maison et en voyage.",
        "Nos acheteurs ont retenu {s}, à la fois {a} et {z}.", "Facile d'entretien, {a} à l'usage.",
        "Emballé avec soin et expédié sans film plastique.", "{b} accorde une longue garantie à la gamme {s}.",
        "Un bon choix quand il faut aller vite : {a} et {z}.", "De petits détails le rendent {a}.",
        "S'accorde avec le reste de la gamme {s}.", "Les pièces rendues sont réparées et réutilisées.",
    ),
}  # fmt: skip
