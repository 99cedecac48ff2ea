"""Which drawing fits a product: words of its texts select from a closed list."""

from __future__ import annotations

import re
from collections.abc import Callable

from armap_agents.tools.webshop.embedded.drawings import (
    bath,
    carried,
    clothes,
    computing,
    decor,
    food,
    furniture,
    kitchen,
    sound,
)
from armap_agents.tools.webshop.embedded.shapes import Ink

Drawing = Callable[[Ink], str]

_BY_WORDS: tuple[tuple[str, Drawing], ...] = (
    # What is made for another thing goes before that thing: a lamp's shade is no lamp.
    (r"phone cases?|screen protectors?", computing.phone_case),
    (r"curtains?|drapes|window coverings?|blinds?|valances?", decor.curtains),
    (
        r"book ?cases?|book ?shel(f|ves)|baker's racks?|hall trees?|coat racks?|shelving",
        furniture.bookcase,
    ),
    (
        r"tooth ?brush(es)?|dental|floss|tongue|orthodontic|denture|gum stimulators?|toothpicks?",
        bath.toothbrush,
    ),
    (r"makeup brush(es)?|brush sets?", bath.makeup_brushes),
    (r"hair ?brush(es)?|combs?|hair cutting|scalp", bath.hair_brush),
    (r"sound ?bars?|surround|home theater", sound.soundbar),
    (r"speakers?|boomboxe?s?|multiroom", sound.speaker),
    (r"ear ?buds?|bluetooth headsets?", sound.earbuds),
    (r"headphones?|headsets?|earphones?", sound.headphones),
    (r"soda|milks?|drinks?|beverages?|juices?|yogurts?|whipped", food.drink),
    (r"keyboards?", computing.keyboard),
    (r"mice|mouse", computing.mouse),
    (r"cables?|cords?|adapters?", computing.cable),
    (r"chargers?|batter(y|ies)|power", computing.charger),
    (r"watch(es)?|wearable|trackers?", carried.watch),
    (r"projectors?", sound.projector),
    (r"televisions?|monitors?|tvs?|projection screens?", sound.screen),
    (r"binoculars?|scopes?", sound.binoculars),
    (r"lens(es)?|film", sound.lens),
    (r"tripods?|mounts?|monopods?", sound.tripod),
    (r"cameras?|photography|surveillance", sound.camera),
    (r"laptops?|computers?|mac", computing.laptop),
    (r"phones?|tablets?|iphones?", computing.phone),
    (r"playstation|xbox|nintendo|games?|legacy systems?", computing.controller),
    (r"remotes?", computing.remote),
    (r"radios?|clock radios?", sound.radio),
    (
        r"vcrs?|players?|receivers?|boosters?|printers?|turntables?"
        r"|streaming|converters?|recorders?|routers?|satellite",
        sound.player,
    ),
    (r"virtual reality|video glasses|sunglasses|glasses", carried.glasses),
    (r"flashes|bulbs?", decor.bulb),
    (r"mugs?|cups?", kitchen.mug),
    (r"water bottles?|tumblers?|flasks?|refillable containers?", kitchen.drinking_bottle),
    (r"pans?|skillets?|cookware", kitchen.frying_pan),
    (r"kni(fe|ves)|cutlery", kitchen.knife),
    (r"kettles?|teapots?", kitchen.kettle),
    (r"lanterns?|camping lights?", carried.lantern),
    (r"pendants? and chandeliers?|chandeliers?|ceiling lights?|sconces?", decor.ceiling_lamp),
    (r"lamps?", decor.table_lamp),
    (r"pillows?|cushions?", decor.pillow),
    (r"blankets?|towels?|bedding|sheets?|quilts?", decor.blanket),
    (r"planters?|pots?|plants?|flowers?", decor.plant),
    (r"candles?", decor.candle),
    (r"clocks?", decor.clock),
    (r"mirrors?", decor.mirror),
    (r"wall art|prints?|posters?|paintings?", decor.framed),
    (r"rugs?|carpets?", decor.rug),
    (r"office chairs?|desk chairs?|task chairs?|gaming chairs?", furniture.office_chair),
    (r"stools?", furniture.stool),
    (r"chairs?|dining sets?|recliners?", furniture.chair),
    (r"coffee tables?|end tables?|ottomans?", furniture.table),
    (r"desks?|tables?|kitchen islands?", furniture.desk),
    (r"sofas?|couch(es)?|loveseats?|living room sets?|futons?", furniture.sofa),
    (r"beds?|bed ?frames?|mattress(es)?|bases", furniture.bed),
    (
        r"cabinets?|drawers?|dressers?|nightstands?|vanit(y|ies)"
        r"|sideboards?|stands?|armoires?|furniture|baskets?",
        furniture.cabinet,
    ),
    (r"tents?", carried.tent),
    (r"umbrellas?", carried.umbrella),
    (r"helmets?", carried.helmet),
    (r"mats?", carried.mat),
    (r"hats?|caps?|beanies?", carried.hat),
    (r"back ?packs?", carried.backpack),
    (r"bags?|purses?|wallets?|cases?", carried.handbag),
    (r"wigs?|hair extensions?|hair accessories", bath.wig),
    (r"boots?|footwear", clothes.boot),
    (r"pumps|heels?", clothes.heel),
    (r"sandals?|slippers?|mules?|clogs?|flats", clothes.sandal),
    (r"sneakers?|shoes?|loafers?|oxfords?|slip-ons", clothes.sneaker),
    (r"socks?|hosiery|tights|stockings?", clothes.socks),
    (r"swimsuits?|bikinis?|lingerie|underwear|bodysuits?|bras?", clothes.swimsuit),
    (r"dress(es)?(?! shirts)|skirts?|jumpsuits?|rompers?", clothes.dress),
    (r"shorts|trunks", clothes.shorts),
    (r"pants|jeans|trousers|leggings|activewear|joggers", clothes.trousers),
    (r"jackets?|coats?|vests?|suits?|blazers?|suiting", clothes.jacket),
    (r"sweaters?|hoodies?|sweatshirts?|cardigans?|sleep", clothes.sweater),
    (r"t-shirts?|tees?|tanks?|henleys?|polos?|tops", clothes.t_shirt),
    (r"shirts?|blouses?|button-downs?", clothes.shirt),
    (r"jewelry|necklaces?|piercing|earrings?|rings?", carried.jewel),
    (r"lip sticks?|lip balms?|lips?|lip care", bath.lip_stick),
    (r"palettes?|makeup|eye shadows?", bath.palette),
    (r"soaps?|cotton balls|bathing|bath", bath.soap),
    (r"perfumes?|fragrances?|colognes?", bath.perfume),
    (r"shav(e|ing)|razors?|hair removal|trimmers?|tools?", bath.razor),
    (r"toothpastes?|sunscreens?|foot, hand", bath.tube),
    (r"deodorants?|styling|sprays?", bath.spray_bottle),
    (
        r"creams?(?! cheese)|moisturizers?|face care|skin care|eyes care|masks?|scrubs?|body care",
        bath.cream,
    ),
    (r"shampoos?|conditioners?|lotions?|mouthwash|hair|oils?|treatments?|beauty", bath.pump_bottle),
    (r"honey|syrups?|jams?|spreads?", food.honey),
    (r"jars?|canisters?|food storage|containers?", kitchen.jar),
    (r"pasta|noodles?|rice|grains?|pantry staples", food.windowed_bag),
    (r"chocolates?|cand(y|ies)", food.chocolate),
    (r"coffee|popcorn|snacks?|crackers?|chips|jerky|seaweed|wasabi", food.pouch),
    (r"teas?", food.tin),
    (r"bars?|granola|breakfast|cereals?|cookies|gifts?", food.carton),
    (r"wines?|alcoholic|vinegars?|sauces?", food.wine),
    (r"meats?|seafood|cheeses?|breads?|bakery|meals?|frozen|deli|butter", food.plate),
    (r"nuts?|mix|fruits?|raisins?|puddings?", food.bowl),
)

_RULES = tuple((re.compile(rf"\b(?:{words})\b"), drawing) for words, drawing in _BY_WORDS)


def drawing_of(*texts: str) -> Drawing:
    """Return the drawing for a product.

    Args:
        texts: Its texts, the most telling one first; a later one is looked at only if those before
            it hold no known word.
    """
    for text in texts:
        lowered = text.lower()
        for words, drawing in _RULES:
            if words.search(lowered):
                return drawing
    return decor.parcel
