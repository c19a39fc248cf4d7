"""Words that tell variants apart, in the languages of the feeds: units, colours, sizes, materials, editions, fillers."""

from __future__ import annotations


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


UNITS: dict[str, tuple[str, str]] = {}
"""Unit as written -> (base unit, factor). Data sizes in thousands, as they are sold."""
for _base, _factor, _words in (
    ("g", "0.001", "mg"),
    ("g", "1", "g gr gm gms gram grams gramm gramme grammes"),
    ("g", "1000", "kg kgs kilo kilogram kilograms kilogramm कि.ग्रा"),
    ("oz", "1", "oz ounce ounces"),
    ("lb", "1", "lb lbs pound pounds"),
    ("ml", "1", "ml milliliter millilitre"),
    ("ml", "10", "cl"),
    ("ml", "100", "dl"),
    ("ml", "1000", "l lt ltr ltrs liter liters litre litres litro litri"),
    ("mm", "1", "mm"),
    ("mm", "10", "cm cms"),
    ("mm", "1000", "m meter metre metres mtr"),
    ("inch", "1", "inch inches zoll pouces pulgadas pollici \" ″ ” ''"),
    ("w", "1", "w watt watts"),
    ("w", "1000", "kw"),
    ("v", "1", "v volt volts"),
    ("mah", "1", "mah"),
    ("mb", "1", "mb"),
    ("mb", "1000", "gb go"),
    ("mb", "1000000", "tb to"),
    ("hz", "1", "hz"),
    ("mhz", "1", "mhz"),
    ("mhz", "1000", "ghz"),
    ("mp", "1", "mp mpix megapixel megapixels mpx"),
    ("rpm", "1", "rpm u/min tr/min"),
    (
        "pcs",
        "1",
        "pcs pc piece pieces pack packs pk count ct stk stück stücke pièces pezzi piezas unidades unités pièce 個 枚 本",
    ),
    ("%", "1", "%"),
):
    UNITS.update(dict.fromkeys(_words.split(), (_base, _factor)))

ATTACHED = {**UNITS, "in": ("inch", "1")}
"""Units right behind their figure: "55in" is a screen, "4 in 1" is none."""
SPACED = {unit: base for unit, base in UNITS.items() if unit not in ("to", "go")}
"""Units a space behind their figure: not "from 5 to 9"."""

ROMAN = {"ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "ix": "9", "xi": "11", "xii": "12"}

COLOURS = """
black: schwarz, schwarze, schwarzer, schwarzes, noir, noire, negro, negra, nero, nera, ブラック, 黒, काला, jet black,
    matt black, matte black, midnight black, blk
white: weiß, weiss, weiße, weisse, weißer, blanc, blanche, blanco, blanca, bianco, bianca, ホワイト, 白, सफेद
grey: gray, grau, graue, grauer, gris, grise, grigio, grigia, グレー, 灰色, स्लेटी, space grey, space gray, spacegrau,
    space grau, gris sidéral, gris espacial, grigio siderale
silver: silber, silbern, argent, argenté, plata, plateado, argento, シルバー, चांदी
gold: golden, goldfarben, or, doré, dorado, oro, ゴールド, सुनहरा
rose gold: rosegold, roségold, rosé gold, or rose, oro rosa, ローズゴールド
blue: blau, blaue, blauer, bleu, bleue, azul, blu, ブルー, 青, नीला
red: rot, rote, roter, rouge, rojo, roja, rosso, rossa, レッド, 赤, लाल
green: grün, grüne, gruen, vert, verte, verde, グリーン, 緑, हरा
yellow: gelb, gelbe, jaune, amarillo, amarilla, giallo, gialla, イエロー, 黄色, पीला
orange: naranja, arancione, オレンジ, नारंगी
pink: rosa, rose, rosé, ピンク, गुलाबी
purple: lila, violett, violet, violette, morado, viola, パープル, 紫, बैंगनी
brown: braun, braune, marron, marrón, marrone, brun, ブラウン, 茶色, भूरा
beige: ベージュ
cream: creme, cremefarben, crème, crema
ivory: elfenbein, ivoire, marfil, avorio
turquoise: türkis, tuerkis, turquesa, turchese, teal
burgundy: bordeaux, weinrot, burdeos, maroon
navy: navy blue, marine, marineblau, bleu marine, azul marino, blu navy, ネイビー
olive: oliv, olivgrün, oliva
khaki: kaki, カーキ
anthracite: anthrazit, antracita, antracite, graphite, graphit, charcoal
inox: stainless steel, edelstahl, acier inoxydable, acero inoxidable, acciaio inox, s/steel
copper: kupfer, cuivre, cobre, rame
bronze: bronce, bronzo
multi: multicolour, multicolor, multicoloured, multi colour, mehrfarbig, bunt, multicolore
transparent: clear, durchsichtig, transparente, trasparente
"""
"""English name: the same in German, French, Spanish, Italian, Japanese, Hindi, and trade names that mean the same."""
COLOUR_OF: dict[str, str] = {}
for _line in COLOURS.strip().replace(",\n ", ", ").splitlines():
    _name, _, _rest = _line.partition(":")
    COLOUR_OF.update((word.strip(), _name) for word in (_name, *_rest.split(",")))
SHADES = {
    **dict.fromkeys(_set("dark deep dunkel foncé foncée oscuro oscura scuro"), "dark"),
    **dict.fromkeys(_set("light pale hell clair claire claro clara chiaro"), "light"),
}
for _word, _name in list(COLOUR_OF.items()):  # German joins the shade: dunkelblau, hellgrau
    COLOUR_OF.setdefault(f"dunkel{_word}", f"dark {_name}")
    COLOUR_OF.setdefault(f"hell{_word}", f"light {_name}")

UNSURE = _set(
    """
    clear cream crema creme crème marine olive or orange rame rose transparente
    """
)
"""Words of several meanings: colours only where an attribute says so."""

COLOUR_ATTRIBUTES = _set(
    """
    colour color colours colors farbe couleur colore farve kleur 色 カラー रंग colour_name color_name
    """
)
"""Names of an attribute that holds a colour."""

MATERIALS = """
cotton: baumwolle, coton, algodón, algodon, cotone, コットン, 綿, सूती
leather: leder, cuir, cuero, piel, pelle, レザー, 革, चमड़ा
faux leather: kunstleder, simili cuir, polipiel, ecopelle, pu leather, synthetic leather, artificial leather, leatherette
suede: wildleder, veloursleder, daim, ante, camoscio, スエード
wool: wolle, laine, lana, ウール, ऊनी
silk: seide, soie, seda, seta, シルク, 絹, रेशम
linen: leinen, lin, lino, リネン, 麻
polyester: poliéster, poliester, poliestere, ポリエステル
nylon: polyamid, polyamide, poliamida, ナイロン
denim: jeansstoff, デニム
velvet: samt, velours, terciopelo, velluto, ベルベット
fleece: forro polar, polaire, フリース
rubber: gummi, caoutchouc, goma, caucho, gomma, ゴム, रबर
silicone: silikon, silicona, シリコン
plastic: kunststoff, plastik, plastique, plástico, plastico, plastica, プラスチック, प्लास्टिक
wood: holz, bois, madera, legno, wooden, hölzern, 木製, लकड़ी
oak: eiche, eichenholz, chêne, roble, rovere
beech: buche, buchenholz, hêtre, haya, faggio
sterling silver: sterlingsilber, argent sterling, plata de ley
bamboo: bambus, bambou, bambú, bambu, bambù, 竹
glass: glas, verre, vidrio, cristal, vetro, ガラス, कांच
ceramic: keramik, céramique, cerámica, ceramica, 陶器
porcelain: porzellan, porcelaine, porcelana, porcellana, 磁器
stainless steel: edelstahl, acier inoxydable, acero inoxidable, acciaio inox, acciaio inossidabile, inox, ステンレス
steel: stahl, acier, acero, acciaio
aluminium: aluminum, alu, aluminio, alluminio, アルミ
brass: messing, laiton, latón, ottone, 真鍮, पीतल
copper: kupfer, cuivre, cobre, rame, 銅, तांबा
iron: eisen, fer, hierro, ferro, cast iron, gusseisen
marble: marmor, marbre, mármol, marmo, 大理石
paper: papier, papel, carta, 紙
cashmere: kaschmir, cachemire, cachemira, カシミヤ
acrylic: acryl, acrylique, acrílico, acrilico, アクリル
viscose: viskose, viscosa, rayon
canvas: segeltuch, lona, キャンバス
"""
"""English name: the same in German, French, Spanish, Italian, Japanese, Hindi."""
MATERIAL_OF: dict[str, str] = {}
for _line in MATERIALS.strip().splitlines():
    _name, _, _rest = _line.partition(":")
    MATERIAL_OF.update((word.strip(), _name) for word in (_name, *_rest.split(",")))
for _word in _set("fer ferro carta papel cristal paper glas canvas piel lin"):
    del MATERIAL_OF[_word]  # words of several meanings: a letter, a menu, a part of "perforated"

MATERIAL_ATTRIBUTES = _set(
    """
    material materials fabric fabric_type stoff matière matiere composition materiale tessuto tejido tela 素材 सामग्री
    material_type
    """
)
"""Names of an attribute that holds a material."""

SIZE_ATTRIBUTES = _set(
    """
    size sizes größe groesse grösse taille pointure talla talle tamaño taglia misura サイズ आकार size_name
    """
)
"""Names of an attribute that holds a size."""

SIZES: dict[str, str] = {}
for _size, _words in (
    ("xxs", "xxs,2xs"),
    ("xs", "xs,extra small,x-small"),
    ("s", "s,small,klein"),
    ("m", "m,medium,mittel"),
    ("l", "l,large,groß"),
    ("xl", "xl,extra large,x-large"),
    ("xxl", "xxl,2xl"),
    ("xxxl", "xxxl,3xl"),
    ("4xl", "4xl,xxxxl"),
    ("5xl", "5xl,xxxxxl"),
):
    SIZES.update(dict.fromkeys(_words.split(","), _size))
SIZE_NAMES = ("size", "gr", "größe", "groesse", "taille", "talla", "taglia", "サイズ")
BARE_SIZES = frozenset(size for size in SIZES if size.endswith(("xs", "xl")))
"""Sizes that need no word before them; s, m, l and small are words of their own."""

EDITIONS = _set(
    """
    plus pro max mini lite ultra se edge play air compact curved note neo prime xl duo dual kit box tray oem
    bundle refill refurbished renewed used generalüberholt reconditionné reacondicionado gebraucht junior kids
    kinder enfant men women herren damen homme femme hombre mujer uomo donna boys girls left right links rechts
    gauche droite decaf zero diet light organic bio integrated
    """
)
"""Words that make another product of the same name: "iPhone 8" and "iPhone 8 Plus". Both titles must have the same."""

FILLERS = _set(
    """
    a an the and or of for in on with by to new sim free unlocked tv smart phone smartphone mobile der die das und
    oder von für mit im neu passend zu aus le la les l un une des et ou de du d avec pour en à nouveau el los las
    y o con para nuevo il lo gli e di per nuovo best sale offer gift idea original genuine choice season value top
    hit beste wahl geschenkidee saison aktion angebot idée cadeau meilleur choix nouvelle offre promo neue
    nouveauté
    """
)
"""Words that say nothing about which product it is: articles, prepositions, advertising."""

LEGAL = _set(
    """
    inc ltd limited llc gmbh ag co corp corporation company sa sas srl spa kg pvt plc bv oy ab
    """
)
"""Legal forms, which some feeds write behind a brand."""

_SYNONYMS = """
trainers sneakers | tee tshirt t-shirt | pullover jumper sweater | trousers pants | sofa couch settee | fridge refrigerator
hoover vacuum | mobile cellphone smartphone | tv television | torch flashlight | nappy diaper | nappies diapers | cot crib
stroller pram pushchair | earphones earbuds | headphones headset | laptop notebook | rug carpet | curtain drape
spectacles eyeglasses | handbag purse | rucksack backpack | dressing-gown bathrobe | soda pop | crisps chips
sweets candy | biscuit cookie | biscuits cookies | tap faucet | hob cooktop | bin trashcan | duvet comforter quilt
turnschuhe sneaker laufschuhe | handy smartphone | fernseher tv | sessel armsessel | hose jeans | jacke jacket
pulli pullover | kühlschrank kühlgerät | staubsauger sauger | kopfhörer ohrhörer | teppich läufer | sofa couch
baskets tennis | portable smartphone téléphone | téléviseur télé | canapé sofa | pull pullover | frigo réfrigérateur
casque écouteurs | tapis moquette | zapatillas deportivas tenis | móvil celular teléfono | televisor tele | sofá sillón
jersey suéter | nevera frigorífico refrigerador | auriculares cascos | alfombra tapete | portátil laptop ordenador
scarpe sneakers | cellulare telefonino smartphone | televisore tv | divano sofà | maglione pullover | frigorifero frigo
cuffie auricolari | tappeto moquette
"""
SYNONYMS: dict[str, tuple[str, ...]] = {}
"""Word -> others for the same thing: English (British and American), German, French, Spanish, Italian."""
for _group in _SYNONYMS.replace("\n", " | ").split("|"):
    _same = _group.split()
    for _word in _same:
        SYNONYMS[_word] = tuple(dict.fromkeys((*SYNONYMS.get(_word, ()), *(one for one in _same if one != _word))))
