"""Two command lines of every command, for its help. A test holds each to the command's options."""

EXAMPLES: dict[str, tuple[str, str]] = {
    "compress": (
        "kestrel compress vgg16.pth -o net.safetensors --calibrate photos/",
        "kestrel compress random:1 -o net.safetensors --network vgg16/8 --mask-bits 2",
    ),
    "export": (
        "kestrel export embedded -o rom --config nano --size 64",
        "kestrel export net.safetensors -o rom --config edge --onnx network.onnx",
    ),
    "verilog": (
        "kestrel verilog --config edge -o rtl",
        "kestrel verilog --config nano --top chip --fit embedded -o rtl",
    ),
    "simulate": (
        "kestrel simulate embedded photo.jpg --size 64",
        "kestrel simulate embedded random:1 --size 32 --top chip --pooling nip",
    ),
    "describe": (
        "kestrel describe resnet18-retrieval photos/ -o photos.npz",
        "kestrel describe embedded photos/ -o photos.npz --pooling rnip9x --codes bytes",
    ),
    "index add": (
        "kestrel index add photos.index photos.npz",
        "kestrel index add photos.index photos.npz --codes bits",
    ),
    "index build": (
        "kestrel index build part1.npz part2.npz -o photos.index",
        "kestrel index build part2.npz -o part2.index --like part1.index",
    ),
    "index merge": (
        "kestrel index merge part1.index part2.index -o photos.index",
        "kestrel index merge day1.index day2.index -o days.index --force",
    ),
    "index remove": (
        "kestrel index remove photos.index holiday/1.jpg",
        "kestrel index remove photos.index 1.jpg 2.jpg",
    ),
    "index info": (
        "kestrel index info photos.index",
        "kestrel index info photos.index --recall 500",
    ),
    "search": (
        "kestrel search photos.index query.jpg --network resnet18-retrieval",
        "kestrel search photos.index query.jpg --network embedded --html found.html",
    ),
    "evaluate": (
        "kestrel evaluate resnet18-retrieval --dataset scenes/ --protocol groups",
        "kestrel evaluate --descriptors scenes.npz --dataset scenes/ --protocol groups",
    ),
    "board build": (
        "kestrel board build embedded --board ulx3s -o build/ulx3s",
        "kestrel board build net.safetensors --size 64 --lanes 4x4 -o board",
    ),
    "board simulate": (
        "kestrel board simulate embedded photo.jpg --board ulx3s --size 64",
        "kestrel board simulate embedded random:1 --size 32 --lanes 2x2 --noise 0.001",
    ),
    "board describe": (
        "kestrel board describe photo.jpg --port /dev/ttyUSB0",
        "kestrel board describe one.jpg two.jpg --port /dev/ttyUSB0 --patience 60",
    ),
    "estimate": (
        "kestrel estimate vgg16 --mask-bits '3*7,1*6'",
        "kestrel estimate embedded --config nano --size 64 --top chip --device ecp5-85",
    ),
    "serve": (
        "kestrel serve photos.index --network resnet18-retrieval",
        "kestrel serve photos.index --network embedded --images photos/ --port 8080",
    ),
    "report design": (
        "kestrel report design resnet18-retrieval --set residual=true -o chip.html",
        "kestrel report design vgg16 --config edge --against vgg19 -o two.html",
    ),
    "report retrieval": (
        "kestrel report retrieval --dataset scenes/ --network embedded -o report",
        "kestrel report retrieval --dataset scenes --network embedded -o r --train t",
    ),
    "allocate": (
        "kestrel allocate vgg16.pth --calibrate photos/ --size-of '3*7,1*6'",
        "kestrel allocate vgg16.pth --calibrate photos/ --bits-per-weight 2.4",
    ),
    "list": (
        "kestrel list",
        "kestrel list --network resnet18:layer4.0",
    ),
    "plan": (
        "kestrel plan vgg16 --config edge",
        "kestrel plan resnet18 --set residual=true --size 112 -o plan.svg",
    ),
    "regress": (
        "kestrel regress --seeds 3 --configs nano",
        "kestrel regress --seeds 20 --jobs 8 -o nightly --coverage covered",
    ),
    "retrain": (
        "kestrel retrain embedded --images photos/ -o better.safetensors",
        "kestrel retrain embedded --images photos/ -o b.safetensors --loss relational",
    ),
    "scenes": (
        "kestrel scenes -o scenes",
        "kestrel scenes -o scenes --groups 12 --views 4 --size 128",
    ),
    "shapes": (
        "kestrel shapes -o shapes",
        "kestrel shapes -o shapes --classes 5 --per-class 20",
    ),
    "study": (
        "kestrel study quick -o study",
        "kestrel study grid.toml --root data/ -o study --only 'vgg16/*'",
    ),
    "whiten": (
        "kestrel whiten embedded photos/ -o whitening.safetensors",
        "kestrel whiten embedded photos/ -o w.safetensors --mode after",
    ),
}
"""By the command's name, that of a sub-command after its group's."""
